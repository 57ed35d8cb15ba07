// Which sources this extension was built from; pyccl/_extension.py reads it from the file.

extern "C" {
extern const char pyccl_source_hash[];
[[gnu::used]] const char pyccl_source_hash[] = "pyccl-source-hash:" PYCCL_SOURCE_HASH;
}
