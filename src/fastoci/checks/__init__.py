"""What `validate` and `gc` find out: whether documents, blobs, layers, layouts and archives are what they say they are.

`findings` has the words for what is wrong; every other module checks one kind of thing.
"""
