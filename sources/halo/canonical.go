package halo

import (
	"bytes"
	"encoding/json"
	"slices"
	"unsafe"

	"haloingest/pipeline/record"
)

// canonical brings the text of a jsonb into the form of record.CanonicalJSON: no white space, keys in the order of their bytes (jsonb has
// the shorter ones first), numbers in their shortest exact form (jsonb keeps trailing zeros and writes out exponents). It relies on what jsonb
// promises: the text is valid, no key comes twice, no string holds NUL, and strings have the same escapes as record.AppendString's. It
// allocates nothing once its memory has grown. Not safe for concurrent use.
type canonical struct {
	members []member // of the objects that are open, the innermost last
	moved   []byte
	sorted  []member
	// orders holds, by number of members, the order that the last object of so many was brought into: objects of one table have the same keys.
	orders [few + 1][few]uint8
}

// few is how many members an object has at most for its order to be remembered.
const few = 24

// member is a member of an object as it stands in the output: from its key's quote to the end of its value.
type member struct {
	start, colon, end int
	escaped           bool // the key has a backslash
}

// append appends the canonical form of src. Of a text that is no JSON it appends something that no canonical form is equal to.
func (c *canonical) append(dst, src []byte) []byte {
	c.members = c.members[:0]
	dst, i := c.value(dst, src, 0)
	if i = space(src, i); i != len(src) {
		dst = append(dst, src[i:]...)
	}
	return dst
}

func space(src []byte, i int) int {
	for i < len(src) && (src[i] == ' ' || src[i] == '\n' || src[i] == '\t' || src[i] == '\r') {
		i++
	}
	return i
}

// value appends the value that begins at src[i] and returns where it ends.
func (c *canonical) value(dst, src []byte, i int) ([]byte, int) {
	i = space(src, i)
	if i == len(src) {
		return dst, i
	}
	switch src[i] {
	case '{':
		return c.object(dst, src, i+1)
	case '[':
		dst = append(dst, '[')
		for i = space(src, i+1); i < len(src) && src[i] != ']'; i = space(src, i) {
			at := i
			dst, i = c.value(dst, src, i)
			if i = space(src, i); i < len(src) && src[i] == ',' {
				dst = append(dst, ',')
				i++
			}
			if i == at { // no JSON
				return dst, i
			}
		}
		if i < len(src) {
			dst = append(dst, ']')
			i++
		}
		return dst, i
	case '"':
		end, _ := closing(src, i)
		return append(dst, src[i:end]...), end
	}
	end := i
	for end < len(src) && src[end] != ',' && src[end] != ']' && src[end] != '}' && src[end] != ' ' {
		end++
	}
	token := src[i:end]
	if len(token) > 0 && (token[0] == '-' || token[0] >= '0' && token[0] <= '9') {
		return appendNumber(dst, token), end
	}
	return append(dst, token...), end
}

// closing returns where the string that begins at src[i] ends, and whether it has a backslash. Most strings are short.
func closing(src []byte, i int) (end int, escaped bool) {
	const short = 24
	i++
	for stop := min(len(src), i+short); i < stop; i++ {
		switch src[i] {
		case '"':
			return i + 1, escaped
		case '\\':
			escaped = true
			i++
		}
	}
	for i < len(src) {
		n := bytes.IndexByte(src[i:], '"')
		if n < 0 {
			break
		}
		slash := bytes.IndexByte(src[i:i+n], '\\')
		if slash < 0 {
			return i + n + 1, escaped
		}
		escaped = true
		i += slash + 2
	}
	return len(src), escaped
}

// object appends the object whose brace has been read.
func (c *canonical) object(dst, src []byte, i int) ([]byte, int) {
	base, open := len(c.members), len(dst)+1
	dst = append(dst, '{')
	sorted := true
	for i = space(src, i); i < len(src) && src[i] == '"'; i = space(src, i) {
		end, escaped := closing(src, i)
		m := member{start: len(dst), escaped: escaped}
		dst = append(dst, src[i:end]...)
		m.colon = len(dst)
		dst = append(dst, ':')
		if i = space(src, end); i < len(src) && src[i] == ':' {
			i++
		}
		dst, i = c.value(dst, src, i)
		m.end = len(dst)
		if n := len(c.members); n > base && sorted {
			sorted = order(dst, c.members[n-1], m) < 0
		}
		c.members = append(c.members, m)
		if i = space(src, i); i < len(src) && src[i] == ',' {
			dst = append(dst, ',')
			i++
		}
	}
	if i < len(src) && src[i] == '}' {
		i++
	}
	if !sorted {
		dst = c.sort(dst, open, c.members[base:])
	}
	c.members = c.members[:base]
	return append(dst, '}'), i
}

// order compares the keys of two members of dst.
func order(dst []byte, a, b member) int {
	x, y := dst[a.start+1:a.colon-1], dst[b.start+1:b.colon-1]
	if a.escaped || b.escaped {
		return bytes.Compare(unescape(x), unescape(y))
	}
	return bytes.Compare(x, y)
}

func unescape(key []byte) []byte {
	var s string
	quoted := append(append([]byte{'"'}, key...), '"')
	if json.Unmarshal(quoted, &s) != nil {
		return key
	}
	return []byte(s)
}

// sort puts the members, which fill dst from open on, into order.
func (c *canonical) sort(dst []byte, open int, list []member) []byte {
	c.moved = append(c.moved[:0], dst[open:]...)
	if len(list) > few {
		slices.SortFunc(list, func(a, b member) int { return order(dst, a, b) })
	} else if !c.remembered(dst, list) {
		c.remember(dst, list)
	}
	at := open
	for i, m := range list {
		if i > 0 {
			dst[at] = ','
			at++
		}
		at += copy(dst[at:], c.moved[m.start-open:m.end-open])
	}
	return dst
}

// remembered sorts the members as the last ones were, if that puts them into order.
func (c *canonical) remembered(dst []byte, list []member) bool {
	at := &c.orders[len(list)]
	if at[0] == at[1] { // none yet
		return false
	}
	for i := 1; i < len(list); i++ {
		if order(dst, list[at[i-1]], list[at[i]]) >= 0 {
			return false
		}
	}
	c.sorted = c.sorted[:0]
	for i := range list {
		c.sorted = append(c.sorted, list[at[i]])
	}
	copy(list, c.sorted)
	return true
}

// remember sorts the members and keeps their order.
func (c *canonical) remember(dst []byte, list []member) {
	at := &c.orders[len(list)]
	for i := range list {
		j := i
		for m := list[i]; j > 0 && order(dst, list[j-1], m) > 0; j-- {
			list[j], list[j-1] = list[j-1], m
			at[j] = at[j-1]
		}
		at[j] = uint8(i)
	}
}

// appendNumber appends a number in the form of record.AppendNumber. The common ones need no more than a look.
func appendNumber(dst, s []byte) []byte {
	const room = 21
	digits := s
	if s[0] == '-' {
		digits = s[1:]
	}
	point := -1
	for i, d := range digits {
		if d == '.' && point < 0 {
			point = i
		} else if d < '0' || d > '9' {
			return slowNumber(dst, s)
		}
	}
	if len(digits) == 0 || point == 0 {
		return slowNumber(dst, s)
	}
	whole, fraction := digits, digits[:0]
	if point > 0 {
		whole, fraction = digits[:point], bytes.TrimRight(digits[point+1:], "0")
	}
	switch {
	case len(whole) > room, len(whole) > 1 && whole[0] == '0':
		return slowNumber(dst, s)
	case len(whole) == 1 && whole[0] == '0':
		if len(fraction) == 0 {
			return append(dst, '0')
		}
		if len(fraction) > room && len(bytes.TrimLeft(fraction, "0")) < len(fraction)-room {
			return slowNumber(dst, s)
		}
	}
	if len(fraction) > 15_000 {
		return slowNumber(dst, s)
	}
	if s[0] == '-' {
		dst = append(dst, '-')
	}
	dst = append(dst, whole...)
	if len(fraction) > 0 {
		dst = append(append(dst, '.'), fraction...)
	}
	return dst
}

// slowNumber leaves the work to record. What a canonical form cannot hold stays as it is: it is equal to none.
func slowNumber(dst, s []byte) []byte {
	out, err := record.AppendNumber(dst, unsafe.String(unsafe.SliceData(s), len(s)))
	if err != nil {
		return append(dst, s...)
	}
	return out
}
