"""What the tests of the engine hold it against: a tree that has everything, slow references, and programs not ours."""
