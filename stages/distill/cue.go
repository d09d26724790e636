package distill

import (
	_ "embed"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

//go:embed cues.txt
var cueText string

// class is what a cue says of the sentence that has it.
type class uint8

const (
	cueGreet class = iota
	cueThanks
	cueSorry
	cueBye
	cueOffer
	cueFiller
	cueContact
	cueInfo
	cueMove
	cueDefer
	cuePass
	cueAct
	cueTry
	cueMood
	cueFault
	cueMatter
	cueDenied
	cueBut
	cueSolved
	cueAsk
	classes
)

var classNames = map[string]class{
	"greet": cueGreet, "thanks": cueThanks, "sorry": cueSorry, "bye": cueBye, "offer": cueOffer,
	"filler": cueFiller, "contact": cueContact, "info": cueInfo, "move": cueMove, "defer": cueDefer, "pass": cuePass,
	"act": cueAct, "try": cueTry, "mood": cueMood, "fault": cueFault, "matter": cueMatter,
	"denied": cueDenied, "but": cueBut, "solved": cueSolved, "ask": cueAsk,
}

// empty reports whether words of the class leave a sentence without content.
func (c class) empty() bool { return c <= cueFiller }

// phrase is a cue of one or more words; the first word is the key under which it is found.
type phrase struct {
	rest  []uint64
	class class
}

// What a single word is, apart from cues. The first bits are the languages of which it is a stop word.
const (
	languages        = 7
	stopWord  uint16 = 1<<languages - 1
	wordNo    uint16 = 1 << (languages + iota - 2)
	wordAsks         // begins or makes a question
	wordAble         // with wordNow at the end: "I can log in now"
	wordNow
	wordUnit // of time, or an ordinal's ending
	wordYou
	wordBack // points at what was said before
	wordIf
)

var languageBits = map[string]uint16{"en": 1, "de": 2, "fr": 4, "es": 8, "pt": 16, "it": 32, "nl": 64}

// cueTable is what cues.txt says. Words are known by their 64-bit hash, so that looking one up
// allocates nothing; the lists are a few thousand words, so two that share a hash are not to be
// expected, and a test looks.
type cueTable struct {
	words                            map[uint64]uint16
	abbreviations, numbering, months map[uint64]bool
	phrases                          map[uint64][]phrase // by the hash of the first word
}

// cues is never changed after it is made.
var cues = parseCues(cueText)

func parseCues(text string) *cueTable {
	c := &cueTable{
		words: map[uint64]uint16{}, abbreviations: map[uint64]bool{}, numbering: map[uint64]bool{},
		months: map[uint64]bool{}, phrases: map[uint64][]phrase{},
	}
	sets := map[string]map[uint64]bool{"abbreviation": c.abbreviations, "numbering": c.numbering, "month": c.months}
	bits := map[string]uint16{
		"negative": wordNo, "questioning": wordAsks, "able": wordAble, "now": wordNow, "unit": wordUnit, "second": wordYou, "back": wordBack, "condition": wordIf,
	}
	for code, bit := range languageBits {
		bits["stop/"+code] = bit
	}
	for line := range strings.Lines(text) {
		name, list, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		for entry := range strings.SplitSeq(list, ",") {
			entry = strings.TrimSpace(entry)
			if set := sets[name]; set != nil {
				set[wordHash(entry)] = true
				continue
			}
			for _, e := range spellings(entry) {
				if bit := bits[name]; bit != 0 {
					c.words[wordHash(e)] |= bit
					continue
				}
				words := appendTokens(nil, e, 0, len(e))
				p := phrase{class: classNames[name]}
				for _, w := range words[1:] {
					p.rest = append(p.rest, w.hash)
				}
				c.phrases[words[0].hash] = append(c.phrases[words[0].hash], p)
			}
		}
	}
	return c
}

// spellings returns an entry as it is, and as people write it who leave out apostrophes, unless that is
// another word.
func spellings(entry string) []string {
	without := strings.ReplaceAll(entry, "'", "")
	switch {
	case without == entry:
		return []string{entry}
	case slices.Contains([]string{"we'll", "we're", "i'll", "i'd", "we'd", "he'll", "c'è"}, entry):
		return []string{entry}
	}
	return []string{entry, without}
}

// token is a word of a text: a run of letters, digits and marks with apostrophes inside, or one
// character of a script that writes no spaces.
type token struct {
	hash       uint64
	start, end int32
	digits     bool // has a digit
	telling    bool // has one that is worth keeping, see telling
	wide       bool // is one character of a script without spaces
}

const (
	hashOffset = 14695981039346656037
	hashPrime  = 1099511628211
)

func hashRune(h uint64, r rune) uint64 {
	if r == '’' {
		r = '\''
	}
	return (h ^ uint64(r)) * hashPrime
}

// wordHash is the case-insensitive hash of a word.
func wordHash(s string) uint64 {
	h := uint64(hashOffset)
	for _, r := range s {
		h = hashRune(h, unicode.ToLower(r))
	}
	return h
}

// asciiWord maps the letters and digits of ASCII to lower case and all else to 0.
var asciiWord = func() (t [utf8.RuneSelf]byte) {
	for c := byte('0'); c <= '9'; c++ {
		t[c] = c
	}
	for c := byte('a'); c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = c, c
	}
	return t
}()

// appendTokens appends the words of text[from:to]. Links and handles are no words.
func appendTokens(dst []token, text string, from, to int) []token {
	for i := from; i < to; {
		r, n, kind := wordRune(text, i, to)
		if kind == 0 {
			if r == '@' {
				i = wordEnd(text, i+n, to)
				continue
			}
			i += n
			continue
		}
		if r == 'h' || r == 'w' {
			if e := linkEnd(text, i, to); e > i {
				i = e
				continue
			}
		}
		t := token{hash: hashRune(hashOffset, r), start: int32(i), wide: kind == 2}
		t.digits = r >= '0' && r <= '9'
		i += n
		for kind == 1 && i < to {
			var next int8
			if r, n, next = wordRune(text, i, to); next == 1 {
				t.hash = hashRune(t.hash, r)
				t.digits = t.digits || r >= '0' && r <= '9'
				i += n
				continue
			}
			if r != '\'' && r != '’' || i+n >= to {
				break
			}
			// An apostrophe counts between letters only.
			after, m, next := wordRune(text, i+n, to)
			if next != 1 {
				break
			}
			t.hash = hashRune(hashRune(t.hash, '\''), after)
			i += n + m
		}
		t.end = int32(i)
		dst = append(dst, t)
	}
	return dst
}

// linkEnd returns the end of the link that begins at i, or i if none does.
func linkEnd(text string, i, to int) int {
	if s := text[i:to]; strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "www.") {
		return wordEnd(text, i, to)
	}
	return i
}

// wordEnd returns where the next white space is.
func wordEnd(text string, i, to int) int {
	for i < to && text[i] > ' ' {
		i++
	}
	return i
}

// wordRune decodes the rune at i, in lower case, and says whether it belongs to a word (1), is a word
// of its own (2), or neither (0).
func wordRune(text string, i, to int) (rune, int, int8) {
	if c := text[i]; c < utf8.RuneSelf {
		if l := asciiWord[c]; l != 0 {
			return rune(l), 1, 1
		}
		return rune(c), 1, 0
	}
	r, n := utf8.DecodeRuneInString(text[i:to])
	switch {
	case r >= 0x3040 && r <= 0x30FF, r >= 0x3400 && r <= 0x9FFF, r >= 0x0E01 && r <= 0x0E4E, r >= 0x20000 && r <= 0x3FFFF:
		return r, n, 2
	case unicode.IsLetter(r):
		return unicode.ToLower(r), n, 1
	case unicode.IsDigit(r), unicode.Is(unicode.M, r) && i > 0:
		return r, n, 1
	}
	return r, n, 0
}

// matchCue returns the longest cue that begins at words[0], its class and how many words it has.
func matchCue(words []token) (class, int) {
	best, length := class(0), 0
	for _, p := range cues.phrases[words[0].hash] {
		n := len(p.rest) + 1
		if n <= length || n > len(words) {
			continue
		}
		same := true
		for k, h := range p.rest {
			if words[k+1].hash != h {
				same = false
				break
			}
		}
		if same {
			best, length = p.class, n
		}
	}
	return best, length
}
