"""What dimensions of a model stand for, and which spans sound alike.

embedding finds the inputs that excite each dimension, labels what is said and seen in
them, purity and clusters what they have in common, concepts puts it together; writing
and showing make files and the page of it.
"""
