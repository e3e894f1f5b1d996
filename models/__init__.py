"""The autoencoders: building blocks, the zoo of architectures, files, fast decoding.

This room knows tensors on a grid, (batch, channels, nx, ny, nz), standardised by whoever calls; meshes,
units and cost functions belong elsewhere. What all networks have in common is
:class:`models.zoo.autoencoder.Autoencoder`; :func:`models.zoo.make` builds one by its name.
"""
