package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxJSONDepth is how deep a document may be nested. PostgreSQL's parser gives up far later; nothing
// that people put into an attribute comes near.
const MaxJSONDepth = 64

// maxExponent bounds a number's decimal exponent: jsonb keeps numbers as numeric, which ends at 131,072
// digits before the point and 16,383 after it.
const maxExponent = 16_000

var (
	ErrJSONDepth  = fmt.Errorf("nested deeper than %d levels", MaxJSONDepth)
	ErrJSONNumber = errors.New("number out of the range of a numeric")
)

// CanonicalJSON returns the one form of a JSON document by which it is stored, hashed and compared:
// no white space, object keys sorted by their bytes, the last of doubled keys, numbers as exact
// decimals in their shortest form (1.50 and 15e-1 are 1.5), strings with the fewest escapes, cleaned
// as by CleanText. PostgreSQL's jsonb of it has the same canonical form.
func CanonicalJSON(raw []byte) (json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return appendValue(make([]byte, 0, len(raw)), v, 0)
}

func appendValue(dst []byte, v any, depth int) ([]byte, error) {
	if depth > MaxJSONDepth {
		return nil, ErrJSONDepth
	}
	var err error
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case string:
		return AppendString(dst, v), nil
	case json.Number:
		return AppendNumber(dst, string(v))
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendValue(dst, e, depth+1); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case map[string]any:
		// Cleaning can make two keys one; the one that sorts last by its raw bytes stays.
		clean := make(map[string]any, len(v))
		raw := make([]string, 0, len(v))
		for k := range v {
			raw = append(raw, k)
		}
		slices.Sort(raw)
		keys := raw[:0]
		for _, k := range raw {
			c := CleanText(k)
			if _, twice := clean[c]; !twice {
				keys = append(keys, c)
			}
			clean[c] = v[k]
		}
		slices.Sort(keys)
		dst = append(dst, '{')
		for i, k := range keys {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(AppendString(dst, k), ':')
			if dst, err = appendValue(dst, clean[k], depth+1); err != nil {
				return nil, err
			}
		}
		return append(dst, '}'), nil
	}
	return nil, fmt.Errorf("unexpected JSON value of type %T", v)
}

// AppendObject appends a canonical object of already canonical values.
func AppendObject(dst []byte, fields map[string]json.RawMessage) []byte {
	keys := make([]string, 0, len(fields))
	for k := range fields {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	dst = append(dst, '{')
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, k), ':')
		dst = append(dst, fields[k]...)
	}
	return append(dst, '}')
}

// AppendNumber appends the value of a JSON number in its shortest exact decimal form: plain while that
// takes at most 21 digits' room on either side of the point, else with an exponent. The text must be
// a number by JSON's grammar; one that a numeric cannot hold is ErrJSONNumber and leaves dst alone.
func AppendNumber(dst []byte, s string) ([]byte, error) {
	negative := strings.HasPrefix(s, "-")
	mantissa, exponent := strings.TrimPrefix(s, "-"), 0
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		n, err := strconv.Atoi(mantissa[i+1:])
		if err != nil || n > 10*maxExponent || n < -10*maxExponent {
			if strings.Trim(mantissa[:i], "0.") == "" {
				return append(dst, '0'), nil
			}
			return dst, ErrJSONNumber
		}
		mantissa, exponent = mantissa[:i], n
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	exponent -= len(fraction)
	trimmed := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(trimmed)
	digits = strings.TrimLeft(trimmed, "0")
	if digits == "" {
		return append(dst, '0'), nil
	}
	point := len(digits) + exponent // digits before the decimal point
	if point > maxExponent || len(digits)-point > maxExponent {
		return dst, ErrJSONNumber
	}
	if negative {
		dst = append(dst, '-')
	}
	const room = 21
	switch {
	case exponent >= 0 && point <= room:
		dst = append(dst, digits...)
		return append(dst, strings.Repeat("0", exponent)...), nil
	case exponent < 0 && point > 0:
		dst = append(append(dst, digits[:point]...), '.')
		return append(dst, digits[point:]...), nil
	case point <= 0 && -point <= room:
		dst = append(append(dst, "0."...), strings.Repeat("0", -point)...)
		return append(dst, digits...), nil
	}
	dst = append(dst, digits[0])
	if len(digits) > 1 {
		dst = append(append(dst, '.'), digits[1:]...)
	}
	return strconv.AppendInt(append(dst, 'e'), int64(point-1), 10), nil
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string with the fewest escapes, cleaned as by CleanText.
func AppendString(dst []byte, s string) []byte {
	s = CleanText(s)
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(dst, s[start:]...), '"')
}

// CleanText makes a text acceptable to PostgreSQL without changing what a person reads: NUL is left
// out and bytes that are not UTF-8 become U+FFFD.
func CleanText(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}
