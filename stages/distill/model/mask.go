package model

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"haloingest/stages/distill"
)

// Personal data leaves the process as typed placeholders, ⟦EMAIL_1⟧, and is put back into what comes in. The same value has the same placeholder
// throughout a conversation, so that a model can tell people and accounts apart without knowing them.

const (
	opening = "⟦"
	closing = "⟧"
)

// personal are the kinds of personal data that have a form, in the order in which they are looked for.
var personal = []struct {
	kind string
	form *regexp.Regexp
	is   func(string) bool // nil: whatever has the form
}{
	{"TEXT", regexp.MustCompile(`⟦[A-Z0-9_]{0,30}⟧|⟦|⟧`), nil}, // what looks like a placeholder and is none
	{"URL", regexp.MustCompile(`(?i)\b(?:https?|ftp)://[^\s<>"'⟦⟧]+|\bwww\.[^\s<>"'⟦⟧]+`), nil},
	{"EMAIL", regexp.MustCompile(`(?i)[\p{L}\p{N}._%+\-]+@[\p{L}\p{N}\-]+(?:\.[\p{L}\p{N}\-]+)+`), nil},
	{"HANDLE", regexp.MustCompile(`@[\p{L}\p{N}_]{2,}`), nil},
	{"IP", regexp.MustCompile(`\b(?:\d{1,3}\.){3}\d{1,3}\b|\b(?:[0-9a-fA-F]{1,4}:){4,7}[0-9a-fA-F]{1,4}\b`), nil},
	{"IBAN", regexp.MustCompile(`\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b`), nil},
	{"CARD", regexp.MustCompile(`\b\d(?:[ \-]?\d){12,18}\b`), luhn},
	{"PHONE", regexp.MustCompile(`(?:\+|\b00|\(|\b)\d[\d \-./()]{5,20}\d\b`), phone},
	{"NUMBER", regexp.MustCompile(`\b\d{9,}\b`), nil},
}

// addresses are what of a text has the form of personal data.
func addresses(text string) (list []string) {
	for _, p := range personal {
		for _, found := range p.form.FindAllString(text, -1) {
			if p.is == nil || p.is(found) {
				list = append(list, found)
			}
		}
	}
	return list
}

// luhn reports whether a number has the check digit of a payment card.
func luhn(s string) bool {
	sum, n := 0, 0
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] < '0' || s[i] > '9' {
			continue
		}
		d := int(s[i] - '0')
		if n%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		n++
	}
	return sum%10 == 0
}

var dated = regexp.MustCompile(`^(?:\d{4}[\-./]\d{1,2}[\-./]\d{1,2}|\d{1,2}[\-./]\d{1,2}[\-./]\d{2,4})$`)

// phone tells telephone numbers from dates, versions and amounts: seven digits or more, and written as one.
func phone(s string) bool {
	digits := 0
	for _, r := range s {
		digits += b2i(r >= '0' && r <= '9')
	}
	if digits < 7 || digits > 15 || dated.MatchString(s) {
		return false
	}
	if s[0] == '+' || s[0] == '(' || strings.HasPrefix(s, "00") {
		return true
	}
	groups := strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if strings.Count(s, ".") > 0 && strings.Count(s, ".") == len(groups)-1 && digits < 10 {
		return false // 10.14.6.2
	}
	return len(groups) > 1 || digits >= 10 || s[0] == '0'
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// addressed finds the names of people who are greeted, addressed or introduced. Other names of people in the text cannot be told from other words.
var addressed = regexp.MustCompile(`(?:\b(?i:hi|hello|hey|dear|hallo|bonjour|hola|ciao|liebe|lieber|cher|chère|estimado|estimada|beste|mr|mrs|ms|herr|frau|my name is|mein name ist|je m'appelle|me llamo|mi chiamo)\.?)\s+` +
	`(\p{Lu}[\p{L}'’-]+(?:\s+\p{Lu}[\p{L}'’-]+){0,2})`)

// mask knows the placeholders of one conversation.
type mask struct {
	names  *regexp.Regexp    // of the people who take part, nil if none has one
	places map[string]string // kind and value -> placeholder
	values map[string]string // placeholder -> value
	counts map[string]int
}

// newMask returns a mask that also knows the names of those who take part, whole and in parts.
func newMask(c *distill.Conversation) *mask {
	m := &mask{places: map[string]string{}, values: map[string]string{}, counts: map[string]int{}}
	var names []string
	whole := []string{c.Customer}
	for i := range c.Turns {
		whole = append(whole, c.Turns[i].Name)
		for _, part := range c.Turns[i].Parts {
			for _, found := range addressed.FindAllStringSubmatch(c.Turns[i].Text[part.Start:part.End], -1) {
				whole = append(whole, found[1])
			}
		}
	}
	for _, whole := range whole {
		whole = strings.Join(strings.Fields(whole), " ")
		for _, name := range append([]string{whole}, strings.FieldsFunc(whole, func(r rune) bool { return !unicode.IsLetter(r) && r != '\'' && r != '-' })...) {
			if utf8.RuneCountInString(name) >= 3 && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return m
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	forms := make([]string, len(names))
	for i, name := range names {
		forms[i] = strings.ReplaceAll(regexp.QuoteMeta(name), " ", `\s+`)
	}
	m.names = regexp.MustCompile(`(?i)` + strings.Join(forms, "|"))
	return m
}

// placeholder is what stands for a value.
func (m *mask) placeholder(kind, value string) string {
	key := kind + "\x00" + value // as it is written, to be put back so
	if p, ok := m.places[key]; ok {
		return p
	}
	m.counts[kind]++
	p := fmt.Sprintf("%s%s_%d%s", opening, kind, m.counts[kind], closing)
	m.places[key], m.values[p] = p, value
	return p
}

// piece is a run of a masked text: equal to the original, or a placeholder.
type piece struct {
	at, end  int // of the masked text
	from, to int // of the original
	hidden   bool
}

// masked is a text without personal data that knows where each part of it comes from.
type masked struct {
	text   string
	pieces []piece
}

// add appends original[from:to] to what is masked.
func (x *masked) add(m *mask, original string, from, to int) {
	type found struct {
		from, to int
		kind     string
	}
	var all []found
	part := original[from:to]
	// hide takes what of [a:b) is not hidden yet: where two forms overlap, as in an address that runs into a URL, neither part may stay.
	hide := func(kind string, a, b int) {
		whole := b - a
		taken := slices.SortedFunc(slices.Values(all), func(f, g found) int { return cmp.Compare(f.from, g.from) })
		for _, f := range append(taken, found{from: b, to: b}) {
			if f.to <= a {
				continue
			}
			end := min(f.from, b)
			if end > a && (end-a == whole || strings.ContainsFunc(part[a:end], inWord)) {
				all = append(all, found{a, end, kind})
			}
			if a = f.to; a >= b {
				return
			}
		}
	}
	for _, p := range personal {
		for _, at := range p.form.FindAllStringIndex(part, -1) {
			a, b := at[0], at[1]
			if p.kind == "URL" || p.kind == "EMAIL" { // what ends the sentence is none of it
				b = a + len(strings.TrimRight(part[a:b], ".,;:!?)]}"))
			}
			if b > a && (p.is == nil || p.is(part[a:b])) {
				hide(p.kind, a, b)
			}
		}
	}
	if m.names != nil {
		for _, at := range m.names.FindAllStringIndex(part, -1) {
			if !wordAt(part, at[0], -1) && !wordAt(part, at[1], 1) && named(part[at[0]:at[1]]) {
				hide("NAME", at[0], at[1])
			}
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.from, b.from) })
	var b strings.Builder
	b.WriteString(x.text)
	write := func(text string, a, z int, hidden bool) {
		if a == z {
			return
		}
		start := b.Len()
		b.WriteString(text)
		x.pieces = append(x.pieces, piece{start, b.Len(), from + a, from + z, hidden})
	}
	at := 0
	for _, f := range all {
		write(part[at:f.from], at, f.from, false)
		write(m.placeholder(f.kind, part[f.from:f.to]), f.from, f.to, true)
		at = f.to
	}
	write(part[at:], at, len(part), false)
	x.text = b.String()
}

// named tells a name from the word that it also is: "will" is none, "Will" may be one.
func named(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return !unicode.IsLower(r) || strings.ContainsRune(s, ' ')
}

// wordAt reports whether a letter or digit stands before (-1) or behind (1) a place.
func wordAt(text string, at, side int) bool {
	var r rune
	if side < 0 {
		r, _ = utf8.DecodeLastRuneInString(text[:at])
	} else {
		r, _ = utf8.DecodeRuneInString(text[at:])
	}
	return inWord(r)
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// original returns what of the original the masked range [at:end) is. A placeholder is taken as a whole.
func (x *masked) original(at, end int) (from, to int, ok bool) {
	for _, p := range x.pieces {
		if p.end <= at || p.at >= end {
			continue
		}
		a, b := p.from, p.to
		if !p.hidden {
			a, b = p.from+max(at-p.at, 0), p.to-max(p.end-end, 0)
		}
		if !ok {
			from, ok = a, true
		}
		to = b
	}
	return from, to, ok
}

var placeholders = regexp.MustCompile(`⟦[^⟦⟧]*⟧`)

// reveal puts the values back. It reports whether each placeholder is one of the conversation's.
func (m *mask) reveal(text string) (string, bool) {
	if strings.ContainsAny(placeholders.ReplaceAllString(text, ""), opening+closing) {
		return "", false
	}
	known := true
	text = placeholders.ReplaceAllStringFunc(text, func(p string) string {
		value, ok := m.values[p]
		known = known && ok
		return value
	})
	return text, known
}
