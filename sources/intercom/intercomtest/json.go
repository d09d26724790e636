package intercomtest

import (
	"strconv"
	"unicode/utf8"
)

// encoder appends JSON to a buffer. encoding/json over maps costs ten times as
// much as everything else that a request needs; the comma is found by looking at
// the last byte, so that callers need not keep count.
type encoder struct{ b []byte }

func (e *encoder) comma() {
	if n := len(e.b); n > 0 {
		switch e.b[n-1] {
		case '{', '[', ':', ',':
		default:
			e.b = append(e.b, ',')
		}
	}
}

func (e *encoder) key(k string) {
	e.comma()
	e.b = append(e.b, '"')
	e.b = append(e.b, k...)
	e.b = append(e.b, '"', ':')
}

func (e *encoder) open()      { e.comma(); e.b = append(e.b, '{') }
func (e *encoder) close()     { e.b = append(e.b, '}') }
func (e *encoder) openList()  { e.comma(); e.b = append(e.b, '[') }
func (e *encoder) closeList() { e.b = append(e.b, ']') }

func (e *encoder) object(k string) { e.key(k); e.b = append(e.b, '{') }
func (e *encoder) list(k string)   { e.key(k); e.b = append(e.b, '[') }

// raw appends JSON under a key.
func (e *encoder) raw(k, json string) { e.key(k); e.b = append(e.b, json...) }

func (e *encoder) null(k string) { e.raw(k, "null") }

func (e *encoder) str(k, v string) { e.key(k); e.b = appendString(e.b, v) }

// strOrNull writes null for an empty string.
func (e *encoder) strOrNull(k, v string) {
	if v == "" {
		e.null(k)
		return
	}
	e.str(k, v)
}

func (e *encoder) num(k string, v int64) { e.key(k); e.b = strconv.AppendInt(e.b, v, 10) }

// time writes unix seconds, null for 0.
func (e *encoder) time(k string, v int64) {
	if v == 0 {
		e.null(k)
		return
	}
	e.num(k, v)
}

func (e *encoder) bool(k string, v bool) { e.key(k); e.b = strconv.AppendBool(e.b, v) }

func (e *encoder) item(v string) { e.comma(); e.b = appendString(e.b, v) }

func decimal(v uint64) string { return strconv.FormatUint(v, 10) }

func quoteJSON(s string) string { return string(appendString(nil, s)) }

// appendString quotes s. Bytes that are no UTF-8 are passed on as they are and
// an encoded surrogate half becomes its escape: both have been met in texts.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			if c == 0xed && i+2 < len(s) && s[i+1] >= 0xa0 && s[i+1] < 0xc0 {
				b = append(b, s[from:i]...)
				r := uint16(c&0x0f)<<12 | uint16(s[i+1]&0x3f)<<6 | uint16(s[i+2]&0x3f)
				b = append(b, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
				i += 3
				from = i
				continue
			}
			i++
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}
