"""What the target takes for granted: kernel, loader, devices, time zone, folders, streams, names.

`program` reads the executable, `zone` finds local time as Go does, `places` looks at devices, kernel files and folders,
`machine` at kernel, clock and names, `collector` puts the rows together.
"""
