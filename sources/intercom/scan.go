package intercom

import (
	"bytes"
	"encoding/json"
)

// The client lets only valid JSON through, so what looks for single members in it need not check it again:
// these functions skip over values at many times the speed of a decoder, which is most of what a
// crawl costs in processor time. On anything else they return nonsense, but stay within doc.

// members calls f with the name and the value of each member of the object doc, in order, and reports
// whether doc is an object. Values share doc's memory and cannot be appended to in place.
func members(doc []byte, f func(name string, value []byte)) bool {
	return spans(doc, func(name string, start, end int) { f(name, doc[start:end:end]) })
}

// spans is members with the places of the values in doc.
func spans(doc []byte, f func(name string, start, end int)) bool {
	i := blank(doc, 0)
	if i >= len(doc) || doc[i] != '{' {
		return false
	}
	for i = blank(doc, i+1); i < len(doc) && doc[i] == '"'; {
		end := skipString(doc, i)
		name := doc[i:end]
		i = blank(doc, end)
		if i >= len(doc) || doc[i] != ':' {
			return true
		}
		i = blank(doc, i+1)
		end = skipValue(doc, i)
		f(unquote(name), i, end)
		if i = blank(doc, end); i < len(doc) && doc[i] == ',' {
			i = blank(doc, i+1)
		}
	}
	return true
}

// elements calls f with each element of the array doc, and reports whether doc is an array.
func elements(doc []byte, f func(value []byte)) bool {
	i := blank(doc, 0)
	if i >= len(doc) || doc[i] != '[' {
		return false
	}
	for i = blank(doc, i+1); i < len(doc) && doc[i] != ']'; {
		end := skipValue(doc, i)
		if end == i {
			return true
		}
		f(doc[i:end:end])
		if i = blank(doc, end); i < len(doc) && doc[i] == ',' {
			i = blank(doc, i+1)
		}
	}
	return true
}

// member is the value of the object's last member of that name, nil if there is none.
func member(doc []byte, name string) []byte {
	var found []byte
	members(doc, func(n string, value []byte) {
		if n == name {
			found = value
		}
	})
	return found
}

// length is the number of elements of an array, -1 of anything else.
func length(doc []byte) int {
	n := 0
	if !elements(doc, func([]byte) { n++ }) {
		return -1
	}
	return n
}

func blank(doc []byte, i int) int {
	for i < len(doc) && (doc[i] == ' ' || doc[i] == '\n' || doc[i] == '\r' || doc[i] == '\t') {
		i++
	}
	return i
}

// skipString returns the index behind the string that begins at i.
func skipString(doc []byte, i int) int {
	for i++; i < len(doc); {
		n := bytes.IndexByte(doc[i:], '"')
		if n < 0 {
			return len(doc)
		}
		i += n
		slashes := 0
		for doc[i-1-slashes] == '\\' { // ends at the opening quote at the latest
			slashes++
		}
		i++
		if slashes%2 == 0 {
			return i
		}
	}
	return len(doc)
}

// skipValue returns the index behind the value that begins at i.
func skipValue(doc []byte, i int) int {
	for depth := 0; i < len(doc); {
		switch doc[i] {
		case '"':
			i = skipString(doc, i)
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
			i++
		case ',', ':', ' ', '\n', '\r', '\t':
			if depth == 0 {
				return i
			}
			i++
			continue
		default:
			for i < len(doc) && !delimiter[doc[i]] {
				i++
			}
		}
		if depth == 0 {
			return i
		}
	}
	return len(doc)
}

// delimiter tells the bytes that end a number or a word.
var delimiter = [256]bool{
	',': true, ':': true, ' ': true, '\n': true, '\r': true, '\t': true, '}': true, ']': true, '{': true, '[': true, '"': true,
}

// unquote returns the text of a string with its quotes.
func unquote(quoted []byte) string {
	if len(quoted) < 2 {
		return ""
	}
	if bytes.IndexByte(quoted, '\\') >= 0 {
		var s string
		_ = json.Unmarshal(quoted, &s) // a string that is none is no name
		return s
	}
	return string(quoted[1 : len(quoted)-1])
}
