"""The library of the book: sequence-to-sequence models, made to be read.

Its modules from the ground up; each imports only from those before it, and
its own first line says what it does.

- Data: `vocab`, `subwords`, `lexicon`, `grammar`, `captions`, `corpora`,
  `pairs`, `batches`, `streams`
- Models: `onednn`, `additive`, `attention`, `embeddings`, `recurrent`,
  `transformer`, `hard`, `bugs`
- Training: `losses`, `modes`, `storage`, `checkpoints`, `training`
- Use: `search`, `metrics`, `errors`
- Recipes and results: `catalogue`, `models`, `evaluation`, `recipes`
- Pages: `plots`, `explorer`, `listing`, `page`
- The command line: `held_out`, `cli`
"""
