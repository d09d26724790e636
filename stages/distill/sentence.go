package distill

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Span is a byte range [Start, End) of a text.
type Span struct{ Start, End int }

// stops marks the bytes at which the sentence scanner has to look closer: everything else is skipped
// with one table lookup, because most of a text is plain letters.
var stops = func() (t [256]bool) {
	for c := utf8.RuneSelf; c < len(t); c++ {
		t[c] = true
	}
	t['.'], t['!'], t['?'], t['\n'] = true, true, true, true
	return t
}()

// appendSentences appends the sentences of text[from:to] to dst, without the white space around them;
// everything that is not white space is in exactly one of them. It follows the sentence rules of
// Unicode annex 29 (terminators of all scripts, closing quotes and brackets, abbreviations that are
// followed by a lower-case letter or a number), with what chat and e-mail need beside them: a full
// stop ends a sentence before a lower-case letter too unless it belongs to a known abbreviation, a
// terminator of ASCII needs white space behind it (so addresses and versions stay whole), a line end
// is a boundary unless the line was wrapped, and emoji belong to the sentence that they follow.
// No boundary is inside a grapheme cluster.
func appendSentences(dst []Span, text string, from, to int) []Span {
	start := skipSpace(text, from, to)
	for i := start; i < to; {
		c := text[i]
		if !stops[c] {
			i++
			continue
		}
		if c == '\n' {
			next := skipSpace(text, i, to)
			if !softWrap(text, start, i, next, to) && startsCluster(text, next, to) {
				dst = appendTrimmed(dst, text, start, i)
				start = next
			}
			i = next
			continue
		}
		size, term := 1, true
		if c >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRuneInString(text[i:to])
			term = r == '…' || endsSentence(r)
		}
		if !term {
			i += size
			continue
		}
		end, next, ok := sentenceEnd(text, start, i, to)
		if ok {
			dst = appendTrimmed(dst, text, start, end)
			start = next
		}
		i = max(next, i+size)
	}
	return appendTrimmed(dst, text, start, to)
}

// sentenceEnd looks at the terminator at i of a sentence that began at start. It returns where the
// sentence ends, where the scan goes on, and whether there is a boundary between the two.
func sentenceEnd(text string, start, i, to int) (end, next int, ok bool) {
	first, _ := utf8.DecodeRuneInString(text[i:to])
	dots, others, wide := 0, 0, false
	j := i
	for j < to {
		r, n := utf8.DecodeRuneInString(text[j:to])
		switch {
		case r == '.':
			dots++
		case r == '…':
			dots += 3
		case r == '!' || r == '?':
			others++
		case r >= utf8.RuneSelf && endsSentence(r):
			others, wide = others+1, true
		default:
			goto closing
		}
		j += n
	}
closing:
	for j < to {
		r, n := utf8.DecodeRuneInString(text[j:to])
		if !closes(r) {
			break
		}
		j += n
	}
	end = j
	next = skipSpace(text, j, to)
	if next >= to {
		return end, next, true
	}
	if next == j && !wide {
		return end, j, runsOn(text, start, i, j, to)
	}
	if next > j {
		if e := emojiEnd(text, next, to); e > next {
			end, next = e, skipSpace(text, e, to)
			if next >= to {
				return end, next, true
			}
		}
	}
	if !startsCluster(text, next, to) {
		return end, next, false
	}
	if others > 0 || first == '…' && dots == 0 {
		return end, next, true
	}
	following, _ := utf8.DecodeRuneInString(text[next:to])
	if dots > 1 {
		return end, next, !unicode.IsLower(following)
	}
	return end, next, !abbreviates(text, start, i, next, to, following)
}

// runsOn reports whether somebody forgot the space between two sentences ("it fails.What now"): a word
// in lower case is before the terminator at i, and one that is no name's or address's part begins with
// a capital at j.
func runsOn(text string, start, i, j, to int) bool {
	w := i
	for w > start && text[w-1] >= 'a' && text[w-1] <= 'z' {
		w--
	}
	if i-w < 2 || w > start && text[w-1] != ' ' && text[w-1] != '\n' && text[w-1] != ',' {
		return false
	}
	e := j
	for e < to && (text[e] >= 'a' && text[e] <= 'z' || e == j && text[e] >= 'A' && text[e] <= 'Z') {
		e++
	}
	if e == j || text[j] < 'A' || text[j] > 'Z' || e == j+1 && text[j] != 'I' && text[j] != 'A' {
		return false
	}
	return e < to && (text[e] == ' ' || text[e] == ',' || text[e] == '\'')
}

// abbreviates reports whether the full stop at i does not end the sentence: it closes an
// abbreviation, an initial, or the number of a list item or date.
func abbreviates(text string, start, i, next, to int, following rune) bool {
	w := i
	letters, digits := 0, 0
	for w > start {
		r, n := utf8.DecodeLastRuneInString(text[start:w])
		switch {
		case unicode.IsLetter(r):
			letters++
		case unicode.IsDigit(r):
			digits++
		case r == '.' || r == 'º':
		default:
			goto found
		}
		w -= n
	}
found:
	word := text[w:i]
	switch {
	case letters == 0 && digits > 0:
		if w == start && digits <= 2 {
			return true // "1. First do this"
		}
		return digits <= 2 && (unicode.IsLower(following) || cues.months[wordHash(firstWord(text[next:to]))])
	case letters == 1 && digits == 0:
		initial, _ := utf8.DecodeRuneInString(word)
		alone := w == start || text[w-1] <= ' '
		return alone && word != "I" && unicode.IsUpper(initial) && unicode.IsUpper(following)
	case letters > 0 && len(word) <= 12:
		h := wordHash(word)
		return cues.abbreviations[h] || cues.numbering[h] && unicode.IsDigit(following)
	}
	return false
}

// softWrap reports whether the line end at i only wraps a paragraph: the line is as long as mail
// programs make them, and the next one goes on in the middle of a sentence.
func softWrap(text string, start, i, next, to int) bool {
	if next >= to || strings.Count(text[i:next], "\n") > 1 {
		return false
	}
	line := start
	if n := strings.LastIndexByte(text[start:i], '\n'); n >= 0 {
		line = start + n + 1
	}
	width := utf8.RuneCountInString(text[line:i])
	if width < 50 || width > 100 {
		return false
	}
	last, _ := utf8.DecodeLastRuneInString(strings.TrimRight(text[line:i], " \t\r"))
	following, n := utf8.DecodeRuneInString(text[next:to])
	switch {
	case unicode.IsLower(following):
		return true
	case unicode.IsLetter(following) || following == '(' || following == '"':
		return unicode.IsLetter(last) || last == ','
	case unicode.IsDigit(following):
		after, _ := utf8.DecodeRuneInString(text[next+n : to])
		return after != '.' && after != ')' && (unicode.IsLetter(last) || last == ',')
	}
	return false
}

// endsSentence is for runes beyond ASCII; the ranges first asked are the bulk of all text.
func endsSentence(r rune) bool {
	switch {
	case r < 0x0589, r >= 0x3040 && r <= 0x9FFF, r >= 0xAC00 && r <= 0xD7A3:
		return false
	}
	return unicode.Is(unicode.Sentence_Terminal, r)
}

func closes(r rune) bool {
	switch r {
	case '"', '\'', ')', ']', '}', '*', '_', '’', '”', '»', '›', '」', '』', '）', '】', '〉', '》':
		return true
	}
	return false
}

// emojiEnd returns the end of the emoji and emoticons at i, or i if there are none.
func emojiEnd(text string, i, to int) int {
	if e := emoticon(text[i:to]); e > 0 {
		return i + e
	}
	end := i
	for end < to {
		r, n := utf8.DecodeRuneInString(text[end:to])
		if !isEmoji(r) && (end == i || !extends(r)) {
			break
		}
		end += n
	}
	return end
}

func emoticon(s string) int {
	for _, e := range [...]string{":-)", ":-(", ";-)", ":'(", ":)", ":(", ";)", ":D", ":P", ":/", "<3", "xD"} {
		if strings.HasPrefix(s, e) && (len(s) == len(e) || s[len(e)] <= ' ') {
			return len(e)
		}
	}
	return 0
}

func isEmoji(r rune) bool {
	return r >= 0x1F000 && r <= 0x1FAFF || r >= 0x2600 && r <= 0x27BF || r == 0x2B50 || r == 0x2B55
}

// extends reports whether r belongs to the grapheme cluster of what is before it.
func extends(r rune) bool {
	switch {
	case r < 0x300:
		return false
	case r == 0x200C || r == 0x200D || r == 0xFF9E || r == 0xFF9F:
		return true
	case r >= 0x1F3FB && r <= 0x1F3FF || r >= 0xE0000 && r <= 0xE0FFF:
		return true
	}
	return unicode.Is(unicode.M, r)
}

func startsCluster(text string, i, to int) bool {
	if i >= to {
		return true
	}
	if text[i] < utf8.RuneSelf {
		return true
	}
	r, _ := utf8.DecodeRuneInString(text[i:to])
	return !extends(r)
}

func skipSpace(text string, i, to int) int {
	for i < to {
		c := text[i]
		if c < utf8.RuneSelf {
			if c > ' ' {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:to])
		if !unicode.IsSpace(r) && r != '\uFEFF' && r != '\u200B' {
			return i
		}
		i += n
	}
	return to
}

func trimEnd(text string, start, end int) int {
	for end > start {
		r, n := utf8.DecodeLastRuneInString(text[start:end])
		if r > ' ' && !unicode.IsSpace(r) && r != '\uFEFF' && r != '\u200B' {
			break
		}
		end -= n
	}
	return end
}

func appendTrimmed(dst []Span, text string, start, end int) []Span {
	if end = trimEnd(text, start, end); end > start {
		dst = append(dst, Span{start, end})
	}
	return dst
}

func firstWord(s string) string {
	for i, r := range s {
		if !unicode.IsLetter(r) {
			return s[:i]
		}
	}
	return s
}
