"""Images, masks and photos as arrays: decoding, sizes, detail, hashes, outlines."""
