"""Arrays in, numbers out: how far generated images are from real ones. Nothing here touches a file of a dataset."""
