"""The two functions that are not sums and products, as polynomials.

Both were fitted here by weighted least squares until the largest error no longer fell.
"""
from std.memory import bitcast
from registers import F, I, LANES

comptime BEND = Float32(4.5)  # beyond it the normal distribution is taken as 0 or 1


@always_inline
def power_of_two(x: F) -> F:
    """2^x for x <= 0, relative error under 3e-6; 2^-126 for anything smaller.

    Adding 1.5 * 2^23 rounds to an integer and leaves it in the lowest bits, where the exponent's
    bias of 127 is added along.
    """
    comptime SHIFT = Float32(12582912 + 127)
    var y = max(x, F(-126))
    var shifted = y + F(SHIFT)
    var f = y - (shifted - F(SHIFT))
    var p = F(0.009570101878685554)
    p = p.fma(f, F(0.055917863853937495))
    p = p.fma(f, F(0.24024744859528063))
    p = p.fma(f, F(0.6931218143082887))
    p = p.fma(f, F(0.999999261426553))
    return p * bitcast[DType.float32, LANES](bitcast[DType.int32, LANES](shifted) << I(23))


@always_inline
def gelu(x: F) -> F:
    """x times the normal distribution function of x; absolute error under 6e-5, which is far
    below the step of the 8-bit codes that the result becomes.
    """
    var y = min(max(x, F(-BEND)), F(BEND))
    var t = y * y
    var p = F(3.036423423324494e-11)
    p = p.fma(t, F(-3.314664621879331e-09))
    p = p.fma(t, F(1.590998673607786e-07))
    p = p.fma(t, F(-4.451732838522821e-06))
    p = p.fma(t, F(8.142520603480109e-05))
    p = p.fma(t, F(-0.0010375915518049533))
    p = p.fma(t, F(0.00958520379615988))
    p = p.fma(t, F(-0.06598465707972603))
    p = p.fma(t, F(0.3987126070244043))
    return x * p.fma(y, F(0.5))
