#pragma once

// Everything: #include <tessera/tessera.hpp>.

#include "tessera/array.hpp"
#include "tessera/blocks.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/counted.hpp"
#include "tessera/creation.hpp"
#include "tessera/decomposition.hpp"
#include "tessera/delayed.hpp"
#include "tessera/dtype.hpp"
#include "tessera/elementwise.hpp"
#include "tessera/error.hpp"
#include "tessera/groupby.hpp"
#include "tessera/io.hpp"
#include "tessera/linalg.hpp"
#include "tessera/manipulation.hpp"
#include "tessera/random.hpp"
#include "tessera/reduction.hpp"
#include "tessera/scalar.hpp"
#include "tessera/session.hpp"
#include "tessera/sorting.hpp"
#include "tessera/version.hpp"
