"""Direct logit attribution: which part of the model wrote this logit?

The public names are in `__init__.pyi`; each is imported when it is first asked for, so that `import dla` takes no time.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
