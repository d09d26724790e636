package extract

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"unicode/utf16"
	"unicode/utf8"
)

// The tree is a JSON document as an array of nodes that point into its bytes. It is used in place of
// json.Unmarshal for three reasons: a field of an unexpected type must cost that field and not the
// object; what was seen and not mapped has to be counted, so every key is looked at anyway; and one
// pass without a map or a copy per value leaves the budget of a core to the HTML. What it accepts is
// what json.Valid accepts (a fuzz test holds it to that), except that a document nested deeper than
// maxDepth is not taken apart below that: there only the brackets have to match.

// maxDepth is far deeper than the API's own nesting plus what record.MaxJSONDepth allows an attribute.
const maxDepth = 128

type kind uint8

const (
	absent kind = iota // the zero value's
	null
	boolean
	number
	text
	list
	object
	deep // a list or object below maxDepth
)

func (k kind) String() string {
	return [...]string{"nothing", "null", "a boolean", "a number", "a string", "a list", "an object", "a deeply nested value"}[k]
}

type node struct {
	start, end       int32 // the value's bytes; of a text without the quotes
	keyStart, keyEnd int32 // the key's, likewise; 0, 0 outside of objects
	next             int32 // index of the node behind the value and all that is in it
	kind             kind
	escaped          bool // the text holds a backslash
	foreign          bool // the text holds bytes above ASCII, perhaps no UTF-8
	keyEscaped       bool // the key holds either
}

type tree struct {
	src   []byte
	nodes []node
}

var errTooLong = errors.New("longer than 2 GiB")

// parse reads one document. The tree's nodes are reused, so values of an earlier parse are void.
// src must not change while values are in use.
func (t *tree) parse(src []byte) (value, error) {
	t.src, t.nodes = src, t.nodes[:0]
	if len(src) > math.MaxInt32 {
		return value{}, errTooLong
	}
	i, err := t.value(skipSpace(src, 0), 0)
	if err != nil {
		return value{}, err
	}
	if i = skipSpace(src, i); i < len(src) {
		return value{}, t.wrong(i, "more than one value")
	}
	return value{t, 0}, nil
}

func (t *tree) wrong(at int, what string) error {
	if at >= len(t.src) {
		return errors.New("the document ends too early")
	}
	return fmt.Errorf("%s at byte %d", what, at)
}

func skipSpace(src []byte, i int) int {
	for i < len(src) && (src[i] == ' ' || src[i] == '\n' || src[i] == '\t' || src[i] == '\r') {
		i++
	}
	return i
}

// value reads the value that starts at i, appends its nodes and returns the index behind it.
func (t *tree) value(i, depth int) (int, error) {
	src := t.src
	if i >= len(src) {
		return i, t.wrong(i, "")
	}
	at := len(t.nodes)
	t.nodes = append(t.nodes, node{start: int32(i)})
	var err error
	switch c := src[i]; {
	case c == '"':
		n := &t.nodes[at]
		n.kind, n.start = text, int32(i+1)
		i, n.escaped, n.foreign, err = t.quoted(i)
		if err != nil {
			return i, err
		}
		n.end = int32(i - 1)
		n.next = int32(at + 1)
		return i, nil
	case c == '{' || c == '[':
		if depth >= maxDepth {
			t.nodes[at].kind = deep
			i, err = t.skip(i)
			break
		}
		i, err = t.members(i, depth, at)
	case c == '-' || c >= '0' && c <= '9':
		t.nodes[at].kind = number
		i, err = t.number(i)
	default:
		for _, l := range [...]struct {
			word string
			kind kind
		}{{"null", null}, {"false", boolean}, {"true", boolean}} {
			if len(src)-i >= len(l.word) && string(src[i:i+len(l.word)]) == l.word {
				t.nodes[at].kind = l.kind
				i += len(l.word)
				break
			}
		}
		if t.nodes[at].kind == absent {
			return i, t.wrong(i, "no JSON value")
		}
	}
	t.nodes[at].end = int32(i)
	t.nodes[at].next = int32(len(t.nodes))
	return i, err
}

func (t *tree) members(i, depth, at int) (int, error) {
	src := t.src
	isObject := src[i] == '{'
	end := byte(']')
	t.nodes[at].kind = list
	if isObject {
		end = '}'
		t.nodes[at].kind = object
	}
	i = skipSpace(src, i+1)
	if i < len(src) && src[i] == end {
		return i + 1, nil
	}
	for {
		var keyStart, keyEnd int
		var escaped, foreign bool
		if isObject {
			if i >= len(src) || src[i] != '"' {
				return i, t.wrong(i, "no key")
			}
			keyStart = i + 1
			var err error
			if i, escaped, foreign, err = t.quoted(i); err != nil {
				return i, err
			}
			keyEnd = i - 1
			i = skipSpace(src, i)
			if i >= len(src) || src[i] != ':' {
				return i, t.wrong(i, "no colon")
			}
			i = skipSpace(src, i+1)
		}
		member := len(t.nodes)
		i2, err := t.value(i, depth+1)
		if err != nil {
			return i2, err
		}
		n := &t.nodes[member]
		n.keyStart, n.keyEnd, n.keyEscaped = int32(keyStart), int32(keyEnd), escaped || foreign
		i = skipSpace(src, i2)
		if i >= len(src) {
			return i, t.wrong(i, "")
		}
		switch src[i] {
		case ',':
			i = skipSpace(src, i+1)
		case end:
			return i + 1, nil
		default:
			return i, t.wrong(i, "no comma")
		}
	}
}

// quoted reads the string whose opening quote is at i and returns the index behind its closing one.
func (t *tree) quoted(i int) (after int, escaped, foreign bool, err error) {
	src := t.src
	for i++; i < len(src); i++ {
		c := src[i]
		if plain[c] {
			continue
		}
		switch {
		case c == '"':
			return i + 1, escaped, foreign, nil
		case c >= utf8.RuneSelf:
			foreign = true
		case c == '\\':
			escaped = true
			i++
			if i >= len(src) {
				return i, escaped, foreign, t.wrong(i, "")
			}
			switch src[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					i++
					if i >= len(src) || !isHex(src[i]) {
						return i, escaped, foreign, t.wrong(i, "no hexadecimal digit")
					}
				}
			default:
				return i, escaped, foreign, t.wrong(i, "unknown escape")
			}
		default:
			return i, escaped, foreign, t.wrong(i, "control character in a string")
		}
	}
	return i, escaped, foreign, t.wrong(i, "")
}

// plain marks the bytes of a string that need no attention.
var plain = func() (p [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		p[c] = c != '"' && c != '\\'
	}
	return p
}()

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (t *tree) number(i int) (int, error) {
	src := t.src
	digits := func() bool {
		from := i
		for i < len(src) && src[i] >= '0' && src[i] <= '9' {
			i++
		}
		return i > from
	}
	if src[i] == '-' {
		i++
	}
	if i < len(src) && src[i] == '0' {
		i++
	} else if !digits() {
		return i, t.wrong(i, "no digit")
	}
	if i < len(src) && src[i] == '.' {
		i++
		if !digits() {
			return i, t.wrong(i, "no digit")
		}
	}
	if i < len(src) && (src[i] == 'e' || src[i] == 'E') {
		i++
		if i < len(src) && (src[i] == '+' || src[i] == '-') {
			i++
		}
		if !digits() {
			return i, t.wrong(i, "no digit")
		}
	}
	return i, nil
}

// skip finds the end of the list or object at i by its brackets, without recursion.
func (t *tree) skip(i int) (int, error) {
	var open []byte // what closes each open bracket
	for ; i < len(t.src); i++ {
		switch c := t.src[i]; c {
		case '"':
			after, _, _, err := t.quoted(i)
			if err != nil {
				return after, err
			}
			i = after - 1
		case '{', '[':
			open = append(open, c+2) // '{'+2 is '}', '['+2 is ']'
		case '}', ']':
			if c != open[len(open)-1] {
				return i, t.wrong(i, "bracket without its counterpart")
			}
			if open = open[:len(open)-1]; len(open) == 0 {
				return i + 1, nil
			}
		}
	}
	return i, t.wrong(i, "")
}

// value is one value of a tree. The zero value is absent.
type value struct {
	t *tree
	i int32
}

func (v value) node() *node { return &v.t.nodes[v.i] }

func (v value) kind() kind {
	if v.t == nil {
		return absent
	}
	return v.node().kind
}

// empty reports whether the value says nothing: absent, null, "", [] or {}.
func (v value) empty() bool {
	switch v.kind() {
	case absent, null:
		return true
	case text:
		return v.node().start == v.node().end
	case list, object:
		return v.node().next == v.i+1
	}
	return false
}

// raw returns the value's bytes in the document; those of a text are without its quotes.
func (v value) raw() []byte { return v.t.src[v.node().start:v.node().end] }

// document returns the value's bytes as a JSON document.
func (v value) document() []byte {
	n := v.node()
	if n.kind == text {
		return v.t.src[n.start-1 : n.end+1]
	}
	return v.t.src[n.start:n.end]
}

// text returns a text decoded and cleaned as by record.CleanText.
func (v value) text() string {
	n := v.node()
	raw := v.t.src[n.start:n.end]
	if !n.escaped && !n.foreign {
		return string(raw)
	}
	return unquote(raw)
}

// key returns the member's key, decoded and cleaned; it is valid as long as the document.
func (v value) key() []byte {
	n := v.node()
	raw := v.t.src[n.keyStart:n.keyEnd]
	if n.keyEscaped {
		return []byte(unquote(raw))
	}
	return raw
}

// get returns the object's member of that name, the last one if there are several.
func (v value) get(name string) (found value) {
	if v.kind() != object {
		return value{}
	}
	for it := v.each(); it.next(); {
		if string(it.key()) == name {
			found = it.value
		}
	}
	return found
}

// each iterates over the members of an object or the elements of a list; over nothing otherwise.
func (v value) each() iterator {
	switch v.kind() {
	case list, object:
		return iterator{at: v.i + 1, end: v.node().next, value: value{t: v.t}}
	}
	return iterator{}
}

// len counts the members or elements.
func (v value) len() (n int) {
	for it := v.each(); it.next(); {
		n++
	}
	return n
}

type iterator struct {
	at, end int32
	value
}

func (it *iterator) next() bool {
	if it.at >= it.end {
		return false
	}
	it.i = it.at
	it.at = it.t.nodes[it.at].next
	return true
}

// unquote decodes the inside of a JSON string as encoding/json does (every byte that is no UTF-8 and
// every half of a surrogate pair becomes U+FFFD), and leaves NULs out.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw)
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		c := raw[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(raw[i:])
			out = utf8.AppendRune(out, r)
			i += size
			continue
		}
		if c != '\\' {
			out = append(out, c)
			i++
			continue
		}
		i += 2
		switch c = raw[i-1]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hexRune(raw[i:])
			i += 4
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(raw)-i >= 6 && raw[i] == '\\' && raw[i+1] == 'u' {
					pair = utf16.DecodeRune(r, hexRune(raw[i+2:]))
				}
				if r = pair; r != utf8.RuneError {
					i += 6
				}
			}
			if r != 0 {
				out = utf8.AppendRune(out, r)
			}
		default: // '"', '\\', '/'
			out = append(out, c)
		}
	}
	return string(out)
}

// hexRune reads the four hexadecimal digits at the start of b.
func hexRune(b []byte) (r rune) {
	for _, c := range b[:4] {
		switch {
		case c <= '9':
			c -= '0'
		case c <= 'F':
			c -= 'A' - 10
		default:
			c -= 'a' - 10
		}
		r = r<<4 | rune(c)
	}
	return r
}
