// What lib/libm_dbl and the math module need (C11 7.12, double only).
#ifndef VIPERVISOR_MATH_H
#define VIPERVISOR_MATH_H

#include <stdint.h>

#define M_PI 3.14159265358979323846
#define M_E 2.7182818284590452354

#define NAN __builtin_nan("")
#define INFINITY __builtin_inf()
#define HUGE_VAL __builtin_huge_val()

#define FLT_EVAL_METHOD __FLT_EVAL_METHOD__
typedef float float_t;
typedef double double_t;

enum { FP_NAN, FP_INFINITE, FP_ZERO, FP_SUBNORMAL, FP_NORMAL };

int __fpclassifyd(double x);
int __signbitd(double x);
int __fpclassify(double x);
int __signbit(double x);

#define isnan(x) __builtin_isnan(x)
#define isinf(x) __builtin_isinf(x)
#define isfinite(x) __builtin_isfinite(x)
#define isnormal(x) __builtin_isnormal(x)
#define signbit(x) __builtin_signbit(x)
#define fpclassify(x) \
    __builtin_fpclassify(FP_NAN, FP_INFINITE, FP_NORMAL, FP_SUBNORMAL, FP_ZERO, x)

double acos(double), acosh(double), asin(double), asinh(double), atan(double), atan2(double, double);
double atanh(double), cbrt(double), ceil(double), copysign(double, double), cos(double), cosh(double);
double erf(double), erfc(double), exp(double), exp2(double), expm1(double), fabs(double), floor(double);
double fmod(double, double), frexp(double, int *), hypot(double, double), ldexp(double, int);
double lgamma(double), log(double), log10(double), log1p(double), log2(double), logb(double);
double modf(double, double *), nan(const char *), nearbyint(double), nextafter(double, double);
double pow(double, double), rint(double), round(double), scalbn(double, int), sin(double);
double sinh(double), sqrt(double), tan(double), tanh(double), tgamma(double), trunc(double);

float fabsf(float), copysignf(float, float);

#endif
