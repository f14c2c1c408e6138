#pragma once

#include <stddef.h>
#include <stdint.h>

/* The boundary of libtessera_netcdf.so, the only place that sees netcdf.h and hdf5.h. Plain C: no
 * exception and no vendor type crosses it. Every function takes the module's one lock, because
 * netCDF-C is not thread safe, so calls may come from any thread; what must run on several cores
 * (reading and inflating chunks) happens outside, from the places that `storage` and `chunk_table`
 * tell. Functions return 0, or a code other than 0 after filling the error. A handle is used until
 * `close`, which also takes a null handle. */

#ifdef __cplusplus
extern "C" {
#endif

#define TESSERA_NETCDF_ABI_VERSION 1u
#define TESSERA_NETCDF_ENTRY_SYMBOL "tessera_netcdf_module"
#define TESSERA_NETCDF_MAX_RANK 64
#define TESSERA_NETCDF_MAX_NAME 1024
#define TESSERA_NETCDF_MAX_FILTERS 16

typedef struct tessera_netcdf_file tessera_netcdf_file;

typedef struct tessera_netcdf_error {
  int code;
  char text[512];
} tessera_netcdf_error;

/* The codes of nc_type for atomic types; everything else is TESSERA_NETCDF_OTHER. */
enum tessera_netcdf_type {
  TESSERA_NETCDF_INT8 = 1,
  TESSERA_NETCDF_CHAR = 2,
  TESSERA_NETCDF_INT16 = 3,
  TESSERA_NETCDF_INT32 = 4,
  TESSERA_NETCDF_FLOAT32 = 5,
  TESSERA_NETCDF_FLOAT64 = 6,
  TESSERA_NETCDF_UINT8 = 7,
  TESSERA_NETCDF_UINT16 = 8,
  TESSERA_NETCDF_UINT32 = 9,
  TESSERA_NETCDF_INT64 = 10,
  TESSERA_NETCDF_UINT64 = 11,
  TESSERA_NETCDF_STRING = 12,
  TESSERA_NETCDF_OTHER = 100
};

/* Names of dimensions and variables in groups carry the group: "ocean/temp". */
typedef struct tessera_netcdf_dimension {
  char name[TESSERA_NETCDF_MAX_NAME];
  uint64_t length;
  int unlimited;
} tessera_netcdf_dimension;

typedef struct tessera_netcdf_variable {
  char name[TESSERA_NETCDF_MAX_NAME];
  int type;
  int rank;
  int dimensions[TESSERA_NETCDF_MAX_RANK];
  int chunked;
  uint64_t chunks[TESSERA_NETCDF_MAX_RANK];
  int attributes;
} tessera_netcdf_variable;

/* `count` is the number of values; for text (CHAR, STRING) it is the number of bytes, the elements
 * of string lists joined by line feeds. */
typedef struct tessera_netcdf_attribute {
  char name[TESSERA_NETCDF_MAX_NAME];
  int type;
  uint64_t count;
} tessera_netcdf_attribute;

enum tessera_netcdf_storage_kind {
  TESSERA_NETCDF_STORAGE_LIBRARY = 0,    /* only `read` can read it */
  TESSERA_NETCDF_STORAGE_CONTIGUOUS = 1, /* all values at data_offset (UINT64_MAX: never written) */
  TESSERA_NETCDF_STORAGE_CHUNKED = 2     /* chunk_table or raw_chunk tell where */
};

typedef struct tessera_netcdf_storage {
  int kind;
  int big_endian;
  int rank;
  uint64_t
      extents[TESSERA_NETCDF_MAX_RANK]; /* of the stored array; may be shorter than the dimension */
  uint64_t chunks[TESSERA_NETCDF_MAX_RANK];
  uint64_t data_offset;
  uint64_t chunk_count; /* chunks that exist in the file */
  int filters;
  uint32_t filter_ids[TESSERA_NETCDF_MAX_FILTERS]; /* HDF5's numbers, in the order of writing */
  unsigned char hole_fill[8];   /* value of chunks that were never written, native byte order */
  unsigned char beyond_fill[8]; /* value beyond `extents` */
} tessera_netcdf_storage;

typedef struct tessera_netcdf_chunk {
  uint64_t index; /* C order in the grid of chunks that covers `extents` */
  uint64_t offset;
  uint64_t size_bytes;
  uint32_t filter_mask; /* bit i set: filter i was not applied */
} tessera_netcdf_chunk;

enum tessera_netcdf_format {
  TESSERA_NETCDF_FORMAT_NETCDF4 = 0,
  TESSERA_NETCDF_FORMAT_CLASSIC = 1,
  TESSERA_NETCDF_FORMAT_64BIT_OFFSET = 2,
  TESSERA_NETCDF_FORMAT_64BIT_DATA = 3
};

typedef struct tessera_netcdf_variable_spec {
  const char* name;
  int type;
  int rank;
  const int* dimensions;
  const uint64_t* chunks; /* null: the library chooses */
  int deflate_level;      /* 0: not compressed */
  int shuffle;
  int fletcher32;
  int big_endian;
  const void* fill_value; /* null: the library's default */
} tessera_netcdf_variable_spec;

typedef struct tessera_netcdf_functions {
  uint32_t abi_version;
  uint32_t struct_size;
  /* "netCDF 4.9.0, HDF5 1.10.8" */
  const char* versions;

  int (*open)(const char* path, tessera_netcdf_file** file, tessera_netcdf_error* error);
  int (*close)(tessera_netcdf_file* file, tessera_netcdf_error* error);
  int (*counts)(tessera_netcdf_file* file, int* dimensions, int* variables, int* attributes,
                tessera_netcdf_error* error);
  int (*dimension)(tessera_netcdf_file* file, int index, tessera_netcdf_dimension* out,
                   tessera_netcdf_error* error);
  int (*variable)(tessera_netcdf_file* file, int index, tessera_netcdf_variable* out,
                  tessera_netcdf_error* error);
  /* Variable -1 means the file's own attributes. */
  int (*attribute)(tessera_netcdf_file* file, int variable, int index,
                   tessera_netcdf_attribute* out, tessera_netcdf_error* error);
  /* Values of the attribute's own type in native byte order; `size_bytes` must be exact. */
  int (*attribute_value)(tessera_netcdf_file* file, int variable, const char* name, void* out,
                         uint64_t size_bytes, tessera_netcdf_error* error);
  int (*read)(tessera_netcdf_file* file, int variable, const uint64_t* start, const uint64_t* count,
              void* out, tessera_netcdf_error* error);
  int (*storage)(tessera_netcdf_file* file, int variable, tessera_netcdf_storage* out,
                 tessera_netcdf_error* error);
  /* Fills `count` entries, the storage's chunk_count. Its time grows with the square of the count.
   */
  int (*chunk_table)(tessera_netcdf_file* file, int variable, tessera_netcdf_chunk* out,
                     uint64_t count, tessera_netcdf_error* error);
  /* The bytes of one chunk as they lie in the file. With a null `out`, only the size (0: never
   * written). */
  int (*raw_chunk)(tessera_netcdf_file* file, int variable, const uint64_t* origin, void* out,
                   uint64_t capacity, uint64_t* size_bytes, uint32_t* filter_mask,
                   tessera_netcdf_error* error);

  int (*create)(const char* path, int format, tessera_netcdf_file** file,
                tessera_netcdf_error* error);
  int (*define_dimension)(tessera_netcdf_file* file, const char* name, uint64_t length,
                          int unlimited, int* index, tessera_netcdf_error* error);
  int (*define_variable)(tessera_netcdf_file* file, const tessera_netcdf_variable_spec* spec,
                         int* index, tessera_netcdf_error* error);
  int (*put_attribute)(tessera_netcdf_file* file, int variable, const char* name, int type,
                       uint64_t count, const void* values, tessera_netcdf_error* error);
  int (*end_definitions)(tessera_netcdf_file* file, tessera_netcdf_error* error);
  int (*write)(tessera_netcdf_file* file, int variable, const uint64_t* start,
               const uint64_t* count, const void* in, tessera_netcdf_error* error);
} tessera_netcdf_functions;

/* The table, or null when the module does not speak the caller's version. */
const tessera_netcdf_functions* tessera_netcdf_module(uint32_t abi_version);

#ifdef __cplusplus
}
#endif
