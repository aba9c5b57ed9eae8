"""Where photos come from: files, WebDataset tars, and Parquet files as Hugging Face writes them.

A photo has a name, and a way to open its bytes, wherever they lie. In a tar it is called
`photos-000000.tar::key.jpg`, in a Parquet file `train-00000.parquet::123` by its row, from 0, and
where several columns have pictures `train-00000.parquet::123.image`. What a stranger's file says is
a text to be shown, and never a path.

It imports decoding, errors, files, folders, formats, json_files and places.
"""
