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
	chosen   bool           // one of the answers that a bot offered, see Turn
	opening  bool           // said by the customer before any agent spoke
	cues     [classes]uint8 // how many cues of each class
	content  int            // words that are neither stop words nor small talk
	digits   int            // words with a digit that are worth keeping
	question bool
	weight   int
	polite   bool   // begins with small talk
	speech   speech // what an agent does by it
}

// analysis is a conversation taken apart. Its memory is used again.
type analysis struct {
	c         *Conversation
	sentences []sentence
	tokens    []token
	words     wordCount
	known     bool // there are cues for its language
}

// wordCount counts the words of a conversation by the languages of which they are stop words.
type wordCount struct{ of [stopWord + 1]int }

// known reports whether the cues are of a language that this is written in. With few words nothing is known, and they are
// taken to be.
func (w *wordCount) known() bool {
	total, most := 0, 0
	for _, n := range w.of {
		total += n
	}
	for bit := uint16(1); bit < stopWord; bit <<= 1 {
		hits := 0
		for mask, n := range w.of {
			if uint16(mask)&bit != 0 {
				hits += n
			}
		}
		most = max(most, hits)
	}
	return total < 8 || 8*most >= total
}

func (a *analysis) text(s *sentence) string { return a.c.Turns[s.turn].Text[s.span.Start:s.span.End] }

func (a *analysis) read(c *Conversation) {
	a.c, a.sentences, a.tokens, a.words = c, a.sentences[:0], a.tokens[:0], wordCount{}
	answered := false
	for i := range c.Turns {
		t := &c.Turns[i]
		agent := t.Speaker == record.SpeakerAgent
		answered = answered || agent
		for k, span := range t.Sentences {
			last := k == len(t.Sentences)-1
			s := sentence{turn: i, agent: agent, first: k == 0, last: last, chosen: t.Chosen, opening: !answered}
			s.span = trimNoise(t.Text, span, agent, last)
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
			s.measure(t.Text, &a.words)
			a.sentences = append(a.sentences, s)
		}
	}
	a.known = a.words.known()
	a.classify()
}

// measure counts the cues and the words that carry content.
func (s *sentence) measure(text string, words *wordCount) {
	wide := 0
	for i := 0; i < len(s.tokens); {
		class, n := matchCue(s.tokens[i:])
		if n > 0 {
			if class != cueAsk || i <= 2 { // a question begins like one
				s.cues[class]++
			}
			if class.empty() {
				// Chinese, Japanese and Korean put the set phrase last.
				s.polite = s.polite || i == 0 || i+n == len(s.tokens) && s.tokens[i].wide
				i += n
				continue
			}
		}
		for k := i; k < i+max(n, 1); k++ {
			t := &s.tokens[k]
			if t.digits {
				if t.telling = telling(text[t.start:t.end]); t.telling {
					s.digits++
				} else {
					continue
				}
			}
			switch {
			case t.wide:
				wide++
				words.of[0]++
			default:
				stop := cues.words[t.hash] & stopWord
				words.of[stop]++
				if stop == 0 {
					s.content++
				}
			}
		}
		i += max(n, 1)
	}
	s.content += (wide + 2) / 3 // a word has two or three such characters
	tail := text[s.tokens[len(s.tokens)-1].end:s.span.End]
	s.question = strings.ContainsAny(tail, "?？؟") || strings.HasSuffix(tail, ";") && s.greek(text)
	if !s.agent && s.can() {
		s.cues[cueSolved]++
	}
}

// can reports whether the sentence ends with the customer being able to do something now: "I can log in now".
func (s *sentence) can() bool {
	if last := s.tokens[len(s.tokens)-1]; cues.words[last.hash]&wordNow == 0 || s.question || s.cues[cueFault]+s.cues[cueDenied] > 0 {
		return false
	}
	return s.has(wordAble)
}

// telling reports whether a word with a digit is worth keeping: not a lone digit, not an ordinal.
func telling(word string) bool {
	digits := 0
	for digits < len(word) && isDigit(word[digits]) {
		digits++
	}
	if digits == len(word) {
		return digits >= 2
	}
	switch strings.ToLower(word[digits:]) {
	case "st", "nd", "rd", "th":
		return false
	}
	return true
}

// greek reports whether the sentence's last word is Greek, where a semicolon asks.
func (s *sentence) greek(text string) bool {
	r, _ := utf8.DecodeRuneInString(text[s.tokens[len(s.tokens)-1].start:])
	return unicode.Is(unicode.Greek, r)
}

// substantive reports whether the sentence says something besides small talk.
func (s *sentence) substantive() bool {
	if s.polite && s.cues[cueAct]+s.cues[cueTry]+s.cues[cueFault]+s.cues[cueDenied] == 0 {
		return s.content >= 4
	}
	return s.content >= 2 || s.content == 1 && s.cues[cueFault]+s.cues[cueDenied] > 0
}

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
func trimNoise(text string, s Span, agent, last bool) Span {
	s.Start = trimOpening(text, s.Start, s.End)
	for last {
		end := trimSigned(text, s.Start, s.End, agent)
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
		case at+3 < end && partNumber(text[at:at+3]) && text[at+3] == ' ':
			at += 4
		case c == '^':
			if e := wordEnd(text, at, end); e-at <= 4 {
				at = e
			}
		case strings.HasPrefix(text[at:end], "- ") || strings.HasPrefix(text[at:end], "* "):
			at += 2
		case strings.HasPrefix(text[at:end], "• "):
			at += len("• ")
		case strings.HasPrefix(text[at:end], ".."):
			at += len(text[at:end]) - len(strings.TrimLeft(text[at:end], "."))
		case strings.HasPrefix(text[at:end], "…"):
			at += len("…")
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
		handle := text[at] == '@'
		if handle {
			if at = skipSpace(text, wordEnd(text, at, end), end); at >= end {
				return start
			}
		}
		r, size := utf8.DecodeRuneInString(text[at:end])
		if handle || strings.ContainsRune(",!.-–—:;، 、，", r) {
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
			if !unicode.IsUpper(next) && !(next >= '0' && next <= '9') {
				return start
			}
		}
	}
	return start
}

// trimSigned returns the end of the sentence without what the channel or its habits put behind it: a
// shortened link, agent initials ("/JI", "^AB", "- Tom"), the number of a part ("1/2").
func trimSigned(text string, start, end int, agent bool) int {
	at := strings.LastIndexAny(text[start:end], " \n\t")
	if at < 0 {
		return end
	}
	at += start
	word := text[at+1 : end]
	if mark := strings.LastIndexByte(word, '^'); agent && mark > 0 && initials(word[mark:]) { // "sent?^BC"
		return at + 1 + mark
	}
	before := trimEnd(text, start, at)
	if before == start {
		return end
	}
	if strings.HasPrefix(word, "https://t.co/") || strings.HasPrefix(word, "http://t.co/") {
		if !agent || strings.IndexByte(".!?^/*…)", text[before-1]) >= 0 || initials(lastWord(text[start:before])) {
			return before
		}
		return end
	}
	if !agent {
		return end
	}
	if initials(word) || partNumber(word) {
		return before
	}
	if mark := lastWord(text[start:before]); len(mark) == 1 && strings.IndexByte("-^~*", mark[0]) >= 0 && initials(mark+word) {
		if before--; before > start {
			return trimEnd(text, start, before)
		}
	}
	return end
}

func lastWord(s string) string { return s[strings.LastIndexAny(s, " \n\t")+1:] }

// initials reports whether a word is a mark with the initials or the name of who signs.
func initials(word string) bool {
	name := strings.TrimLeft(word, "^/*-~–—")
	if len(name) == len(word) || name == "" {
		return false
	}
	for i, r := range name {
		if !unicode.IsLetter(r) || i == 0 && !unicode.IsUpper(r) {
			return false
		}
	}
	switch word[0] {
	case '/':
		return len(name) <= 3
	case '^', '*', '~':
		return len(name) <= 20
	}
	return len(name) <= 12
}

// partNumber reports whether a word numbers a message that was sent in parts: "1/2", "(2/2)".
func partNumber(word string) bool {
	word = strings.TrimSuffix(strings.TrimPrefix(word, "("), ")")
	return len(word) == 3 && isDigit(word[0]) && word[1] == '/' && isDigit(word[2])
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
