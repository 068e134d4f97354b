// Some rows times a panel of a matrix, on vectors or on AMX tiles.

#pragma once

#include <algorithm>
#include <cstdint>

#include "formats.h"

namespace {

constexpr long AHEAD = 1024;  // cells from those that are multiplied to those that are asked for, of one panel alone

// sums[i][j] = sum_k rows[i][k] . cells[k][j] for ROWS rows, `stride` cells apart, and J vectors of outputs in each of PANELS
// panels, `panel` cells apart; the next k lies `along` cells farther.
template <class Format, int ROWS, int PANELS, int J>
void multiply(const cell* rows, long stride, const cell* cells, long panel, long along, long depth,
              typename Format::Sum* sums) {
    constexpr int ALL = PANELS * J;
    typename Format::Sum kept[ROWS][ALL] = {};
    for (long k = 0; k < depth; k++, cells += along) {
        if (ROWS == 1 && PANELS == 1) __builtin_prefetch(cells + AHEAD);
#pragma GCC unroll 4
        for (int step = 0; step < Format::STEPS; step++) {
            decltype(Format::factor(ints{}, 0)) b[ALL];
#pragma GCC unroll 8
            for (int j = 0; j < ALL; j++) b[j] = Format::factor(load<ints>(cells + j / J * panel + j % J * LANES), step);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; i++) {
                const auto a = Format::spread(rows[i * stride + k * Format::STEPS + step]);
#pragma GCC unroll 8
                for (int j = 0; j < ALL; j++) kept[i][j] = Format::add(kept[i][j], a, b[j]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 8
        for (int j = 0; j < ALL; j++) sums[i * ALL + j] = kept[i][j];
}

constexpr long TOGETHER = 32;  // most rows of one product

// The sums of a panel for the first of `n` rows, on vectors; returns of how many.
template <class Format>
long multiply_vectors(const cell* rows, long n, long stride, const cell* panel, long depth, typename Format::Sum* sums) {
    if (n >= 6) return multiply<Format, 6, 1, VECTORS>(rows, stride, panel, 0, PANEL, depth, sums), 6;
    if (n >= 4) return multiply<Format, 4, 1, VECTORS>(rows, stride, panel, 0, PANEL, depth, sums), 4;
    if (n >= 2) return multiply<Format, 2, 1, VECTORS>(rows, stride, panel, 0, PANEL, depth, sums), 2;
    return multiply<Format, 1, 1, VECTORS>(rows, stride, panel, 0, PANEL, depth, sums), 1;
}

#ifdef TILES

// Tiles 0 to 3 hold sums, 4 and 5 rows, 6 and 7 a panel: 16 rows of 64 bytes each, or fewer where fewer rows are computed.
struct alignas(64) TileShapes {
    uint8_t palette = 1, start = 0, unused[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

void begin_tiles(long rows) {
    TileShapes shapes;
    for (int tile = 0; tile < 6; tile++) shapes.rows[tile] = static_cast<uint8_t>(std::min(rows, 16L));
    _tile_loadconfig(&shapes);
}

// One tile of rows times a panel, or two.
template <class Format, bool TWO>
void multiply_tile(const cell* rows, long stride, const cell* panel, long depth, cell* sums) {
    constexpr long BYTES = PANEL * sizeof(cell);
    const long row_bytes = stride * sizeof(cell);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (long k = 0; k < depth; k += 16, panel += 16 * PANEL) {
        for (long line = 0; line < 16 * PANEL; line += 16) __builtin_prefetch(panel + AHEAD + line);
        _tile_loadd(4, rows + k, row_bytes);
        if (TWO) _tile_loadd(5, rows + 16 * stride + k, row_bytes);
        _tile_loadd(6, panel, BYTES);
        _tile_loadd(7, panel + 16, BYTES);
        if constexpr (Format::GROUP == 4) {
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
            if (TWO) _tile_dpbusd(2, 5, 6);
            if (TWO) _tile_dpbusd(3, 5, 7);
        } else {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (TWO) _tile_dpbf16ps(2, 5, 6);
            if (TWO) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums, BYTES);
    _tile_stored(1, sums + 16, BYTES);
    if (TWO) _tile_stored(2, sums + 16 * PANEL, BYTES);
    if (TWO) _tile_stored(3, sums + 16 * PANEL + 16, BYTES);
}

// The same on tiles. The rows to the end of the last tile must be there, though nobody looks at their sums.
template <class Format>
long multiply_tiles(const cell* rows, long n, long stride, const cell* panel, long depth, typename Format::Sum* sums) {
    cell* to = reinterpret_cast<cell*>(sums);
    if (n <= 16) return multiply_tile<Format, false>(rows, stride, panel, depth, to), n;
    return multiply_tile<Format, true>(rows, stride, panel, depth, to), std::min(n, TOGETHER);
}

#endif

}  // namespace
