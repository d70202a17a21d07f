"""The doors for other people's models: generators, judges, harmonizers and segmenters, by name or as objects.

``doors`` finds one, ``plugin`` reads its settings and builds it, ``digest`` says what it is made from, and ``guard``
holds what it returns to the guarantees. The built-in ones come through the same doors.
"""
