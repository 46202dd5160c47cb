"""The calibration sequences that `narrow quantize` draws, for handing them to others: src/language/text_data.cc, draw_sequences."""
import numpy


def mersenne_twister_64(seed):
    """std::mt19937_64."""
    mask, state = (1 << 64) - 1, [seed & ((1 << 64) - 1)]
    for i in range(1, 312):
        state.append((6364136223846793005 * (state[-1] ^ state[-1] >> 62) + i) & mask)
    while True:
        for i in range(312):
            x = (state[i] & 0xFFFFFFFF80000000) | (state[(i + 1) % 312] & 0x7FFFFFFF)
            state[i] = state[(i + 156) % 312] ^ x >> 1 ^ (0xB5026F5AA96619E9 if x & 1 else 0)
        for y in list(state):
            y ^= y >> 29 & 0x5555555555555555
            y ^= y << 17 & 0x71D67FFFEDA60000
            y ^= y << 37 & 0xFFF7EEE000000000
            yield y ^ y >> 43


def draw_sequences(tokens, count, length, seed):
    random, part, rows = mersenne_twister_64(seed), (len(tokens) - length + 1) / count, []
    for i in range(count):
        offset = (next(random) >> 11) * 2.0 ** -53
        at = min(len(tokens) - length, int((i + offset) * part))
        rows.append(tokens[at:at + length])
    return numpy.array(rows, numpy.int32)
