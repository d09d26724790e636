package distill

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"haloingest/pipeline/record"
)

// quoteWidth is the most characters of a sentence that a record quotes.
const quoteWidth = 300

// sentence is one sentence of a conversation, without the noise at its ends, and what is known of it.
type sentence struct {
	turn     int
	span     Span // of the turn's text
	tokens   []token
	agent    bool
	first    bool           // the turn's first sentence
	last     bool           // the turn's last sentence
	opening  bool           // said by the customer before any agent spoke
	cues     [classes]uint8 // how many cues of each class
	content  int            // words that are neither stop words nor small talk
	digits   int            // words with a digit
	question bool
}

// analysis is a conversation taken apart. Its memory is used again.
type analysis struct {
	c         *Conversation
	sentences []sentence
	tokens    []token
}

func (a *analysis) text(s *sentence) string { return a.c.Turns[s.turn].Text[s.span.Start:s.span.End] }

func (a *analysis) read(c *Conversation) {
	a.c, a.sentences, a.tokens = c, a.sentences[:0], a.tokens[:0]
	answered := false
	for i := range c.Turns {
		t := &c.Turns[i]
		agent := t.Speaker == record.SpeakerAgent
		answered = answered || agent
		for k, span := range t.Sentences {
			last := k == len(t.Sentences)-1
			s := sentence{turn: i, agent: agent, first: k == 0, last: last, opening: !answered}
			s.span = trimNoise(t.Text, span, agent && last)
			s.span.End = s.span.Start + widthCut(t.Text[s.span.Start:s.span.End])
			if s.span.End <= s.span.Start {
				continue
			}
			mark := len(a.tokens)
			a.tokens = appendTokens(a.tokens, t.Text, s.span.Start, s.span.End)
			s.tokens = a.tokens[mark:len(a.tokens):len(a.tokens)]
			if len(s.tokens) == 0 {
				continue
			}
			s.measure(t.Text)
			a.sentences = append(a.sentences, s)
		}
	}
}

// measure counts the cues and the words that carry content.
func (s *sentence) measure(text string) {
	for i := 0; i < len(s.tokens); {
		class, n := matchCue(s.tokens[i:])
		if n > 0 {
			s.cues[class]++
			if class.empty() {
				i += n
				continue
			}
		}
		for k := i; k < i+max(n, 1); k++ {
			t := &s.tokens[k]
			if t.digits {
				s.digits++
			}
			if !cues.stop[t.hash] {
				s.content++
			}
		}
		i += max(n, 1)
	}
	tail := text[s.tokens[len(s.tokens)-1].end:s.span.End]
	s.question = strings.ContainsAny(tail, "?？؟") || strings.HasSuffix(tail, ";") && s.greek(text)
}

// greek reports whether the sentence's last word is Greek, where a semicolon asks.
func (s *sentence) greek(text string) bool {
	r, _ := utf8.DecodeRuneInString(text[s.tokens[len(s.tokens)-1].start:])
	return unicode.Is(unicode.Greek, r)
}

// substantive reports whether the sentence says something besides small talk.
func (s *sentence) substantive() bool { return s.content >= 2 }

// widthCut returns how much of a sentence is quoted: all of it, or its first clauses.
func widthCut(s string) int {
	if len(s) <= quoteWidth || utf8.RuneCountInString(s) <= quoteWidth {
		return len(s)
	}
	n := cutAt(s, quoteWidth)
	if i := strings.LastIndexAny(s[:n], ",;:"); i > n/2 {
		n = i
	}
	return trimEnd(s, 0, n)
}

// trimNoise takes off a sentence's ends what is not part of what is said: handles, list marks, a
// greeting or apology before a comma, and at the end of what an agent writes the initials and the
// link that the channel adds.
func trimNoise(text string, s Span, signed bool) Span {
	s.Start = trimOpening(text, s.Start, s.End)
	for signed {
		end := trimEnd(text, s.Start, trimSigned(text, s.Start, s.End))
		if end == s.End {
			break
		}
		s.End = end
	}
	return s
}

func trimOpening(text string, start, end int) int {
	for range 6 {
		at := start
		switch c := text[at]; {
		case c == '@' || c == '.' && at+1 < end && text[at+1] == '@':
			at++
			for at < end && text[at] > ' ' {
				at++
			}
		case strings.HasPrefix(text[at:end], "- ") || strings.HasPrefix(text[at:end], "* "):
			at += 2
		case strings.HasPrefix(text[at:end], "• "):
			at += len("• ")
		default:
			at = trimPleasantry(text, at, end)
		}
		at = skipSpace(text, at, end)
		if at == start || at >= end {
			return start
		}
		start = at
	}
	return start
}

// trimPleasantry returns where the sentence goes on behind a greeting, thanks, apology or other set
// phrase and the punctuation that ends it; start if it does not begin with one or nothing follows.
func trimPleasantry(text string, start, end int) int {
	var held [12]token
	// A window is enough: set phrases are short, and a huge sentence must not be read for each step.
	window := min(end, start+120)
	for window < end && !utf8.RuneStart(text[window]) {
		window++
	}
	words := appendTokens(held[:0], text, start, window)
	if len(words) == 0 || int(words[0].start) != start {
		return start
	}
	class, n := matchCue(words)
	if n == 0 || !class.empty() {
		return start
	}
	names := 0 // a greeting may name somebody before the comma
	if class == cueGreet || class == cueThanks || class == cueSorry {
		names = 2
	}
	for k := n - 1; k < len(words) && k < n+names; k++ {
		at := skipSpace(text, int(words[k].end), end)
		if at >= end {
			return start
		}
		r, size := utf8.DecodeRuneInString(text[at:end])
		if strings.ContainsRune(",!.-–—:;، 、，", r) {
			for at < end && (size == 1 || r != 0) && strings.ContainsRune(",!.-–—:;،、， ", r) {
				at += size
				r, size = utf8.DecodeRuneInString(text[at:end])
			}
			if len(words)-k-1 >= 3 {
				return at
			}
			return start
		}
		if k+1 < len(words) && k >= n-1 {
			// Only names may stand between, and those begin with a capital.
			next, _ := utf8.DecodeRuneInString(text[words[k+1].start:])
			if !unicode.IsUpper(next) && !isDigitRune(next) {
				return start
			}
		}
	}
	return start
}

func isDigitRune(r rune) bool { return r >= '0' && r <= '9' }

// trimSigned returns the end of the sentence without agent initials ("/JI", "^AB", "-Tom") or a
// shortened link that the channel put behind it.
func trimSigned(text string, start, end int) int {
	at := strings.LastIndexAny(text[start:end], " \n\t")
	if at < 0 {
		return end
	}
	at += start
	word := text[at+1 : end]
	if strings.HasPrefix(word, "https://t.co/") || strings.HasPrefix(word, "http://t.co/") {
		before := trimEnd(text, start, at)
		if before > start && strings.IndexByte(".!?^/*", text[before-1]) >= 0 || initials(lastWord(text[start:before])) {
			return before
		}
		return end
	}
	if initials(word) {
		return at
	}
	return end
}

func lastWord(s string) string { return s[strings.LastIndexAny(s, " \n\t")+1:] }

func initials(word string) bool {
	mark := len(word) - len(strings.TrimLeft(word, "^/*-~–—"))
	if mark == 0 {
		return false
	}
	name := word[mark:]
	if len(name) == 0 || len(name) > 12 {
		return false
	}
	for i, r := range name {
		if !unicode.IsLetter(r) || i == 0 && !unicode.IsUpper(r) {
			return false
		}
	}
	return len(name) <= 3 || word[0] == '^' || word[0] == '-' || word[0] == '~'
}
