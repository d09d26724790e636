package distill

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"

	"haloingest/pipeline/record"
)

// Sizes of chunks, in characters (runes). Halo documents about 2,000 and about 500 with an overlap
// (halo.md, 3.8); the limits leave room to end at the end of a turn or sentence.
const (
	parentAim   = 2000
	parentLimit = 2200
	parentFull  = 1400 // a parent of this size is closed rather than a turn split
	labelLimit  = 100  // more than the longest label
	childAim    = 500
	childLimit  = 560
	childLeast  = 250 // a child smaller than this is cut inside a sentence rather
	overlapAim  = 80
	overlapMin  = 30
	overlapMax  = 150
)

// chunk is a text of the raw layer and the turns that it holds.
type chunk struct {
	text     string
	turns    []turnRange
	children []child
}

type turnRange struct{ turn, start, end int } // bytes of the chunk's text

type child struct{ start, end int } // bytes of the parent's text

// breakpoint is a place of a parent at which it may be cut: the beginning of a sentence or turn.
type breakpoint struct {
	at, runes int
	turn      bool
}

// chunker packs a conversation into parents and their children. The zero chunker is ready and may be
// used again; it is not safe for concurrent use.
type chunker struct {
	header string
	head   int // runes of header
	buf    strings.Builder
	runes  int
	breaks []breakpoint
	turns  []turnRange
	out    []chunk
}

// chunks returns the parents of a conversation in order. Together they hold every character of every
// turn's parts but the white space at which they are cut; each begins with header, which must be well
// shorter than a parent.
func (k *chunker) chunks(c *Conversation, header string) []chunk {
	k.header, k.head, k.out = header, utf8.RuneCountInString(header), nil
	k.begin()
	for i := range c.Turns {
		k.turn(i, &c.Turns[i])
	}
	k.flush()
	return k.out
}

func (k *chunker) begin() {
	k.buf.Reset()
	k.buf.Grow(parentLimit + len(k.header))
	k.breaks, k.turns = k.breaks[:0], nil
	k.buf.WriteString(k.header)
	k.runes = k.head
	if k.head > 0 {
		k.breaks = append(k.breaks, breakpoint{turn: true})
	}
}

func (k *chunker) hasBody() bool { return len(k.turns) > 0 }

// flush closes the parent in work, if it has a body.
func (k *chunker) flush() {
	if !k.hasBody() {
		return
	}
	text := strings.TrimRightFunc(k.buf.String(), unicode.IsSpace)
	last := &k.turns[len(k.turns)-1]
	last.end = min(last.end, len(text))
	ck := chunk{text: text, turns: k.turns}
	total := k.runes - utf8.RuneCountInString(k.buf.String()[len(text):])
	ck.children = appendChildren(nil, text, total, k.breaks)
	k.out = append(k.out, ck)
	k.begin()
}

func label(t *Turn, continued bool) string {
	l := "Customer"
	if t.Speaker == record.SpeakerAgent {
		l = "Agent"
		if name := oneLine(t.Name, 60); name != "" {
			l += " (" + name + ")"
		}
	}
	if continued {
		l += ", continued"
	}
	return l + ": "
}

// open starts a turn, or its continuation, in the parent in work.
func (k *chunker) open(i int, t *Turn, continued bool) {
	if k.hasBody() {
		k.write("\n")
	}
	k.breaks = append(k.breaks, breakpoint{k.buf.Len(), k.runes, true})
	k.turns = append(k.turns, turnRange{turn: i, start: k.buf.Len()})
	k.write(label(t, continued))
}

func (k *chunker) write(s string) {
	k.buf.WriteString(s)
	k.runes += utf8.RuneCountInString(s)
	if n := len(k.turns); n > 0 {
		k.turns[n-1].end = k.buf.Len()
	}
}

func (k *chunker) turn(i int, t *Turn) {
	size := 1 + len(t.Name) + len("Agent (): ")
	for _, p := range t.Parts {
		size += 1 + utf8.RuneCountInString(t.Text[p.Start:p.End])
	}
	whole := k.runes+size <= parentLimit
	if !whole && k.hasBody() && (k.runes >= parentFull-labelLimit || k.head+size <= parentLimit && k.runes > parentFull/2) {
		k.flush()
		whole = k.runes+size <= parentLimit
	}
	k.open(i, t, false)
	s := 0
	for n, p := range t.Parts {
		if n > 0 {
			k.write("\n")
		}
		for s < len(t.Sentences) && t.Sentences[s].Start < p.End {
			end := p.End
			if s+1 < len(t.Sentences) {
				end = min(end, t.Sentences[s+1].Start)
			}
			k.sentence(i, t, t.Text[t.Sentences[s].Start:end], whole)
			s++
		}
	}
}

// sentence adds a sentence with the white space behind it. A sentence that does not fit goes to the
// next parent, one that is longer than what is left of a nearly empty parent is cut.
func (k *chunker) sentence(i int, t *Turn, s string, whole bool) {
	runes := utf8.RuneCountInString(s)
	for !whole && k.runes+runes > parentAim {
		if k.runes < parentFull && runes > parentAim-parentFull {
			n := cutAt(s, parentAim-k.runes)
			k.piece(s[:n])
			rest := strings.TrimLeftFunc(s[n:], unicode.IsSpace)
			runes -= utf8.RuneCountInString(s[:len(s)-len(rest)])
			s = rest
			if s == "" {
				return
			}
		}
		k.flush()
		k.open(i, t, true)
	}
	k.piece(s)
}

func (k *chunker) piece(s string) {
	if startsCluster(s, 0, len(s)) {
		k.breaks = append(k.breaks, breakpoint{at: k.buf.Len(), runes: k.runes})
	}
	k.write(s)
}

// appendChildren cuts a parent of so many runes into children. Neighbours overlap, every character is
// in one of them.
func appendChildren(dst []child, text string, total int, breaks []breakpoint) []child {
	start, startRunes := 0, 0
	for {
		left := total - startRunes
		if left <= childLimit {
			return append(dst, child{start, len(text)})
		}
		aim := childAim
		if left < 2*childAim-overlapAim { // two of like size rather than a long one and a scrap
			aim = max(left/2+overlapAim, childLeast+overlapMax)
		}
		end, endRunes := childEnd(text, start, startRunes, aim, breaks)
		if trimmed := trimEnd(text, start, end); trimmed < end {
			n := endRunes - utf8.RuneCountInString(text[trimmed:end])
			if n-startRunes > overlapMax { // else the next child would not get any further
				end, endRunes = trimmed, n
			}
		}
		dst = append(dst, child{start, end})
		start, startRunes = childStart(text, start, end, endRunes, breaks)
	}
}

// childEnd chooses where a child that begins at start ends: at the end of a turn, else of a sentence,
// else between words.
func childEnd(text string, start, startRunes, aim int, breaks []breakpoint) (end, runes int) {
	var turn, sentence, late breakpoint
	for _, b := range breaks {
		switch n := b.runes - startRunes; {
		case n <= 0:
		case n <= aim:
			if sentence = b; b.turn {
				turn = b
			}
		case n <= childLimit && late.at == 0:
			late = b
		}
	}
	switch {
	case turn.runes-startRunes >= aim*7/10:
		return turn.at, turn.runes
	case sentence.runes-startRunes >= childLeast:
		return sentence.at, sentence.runes
	case late.at > 0:
		return late.at, late.runes
	}
	n := cutAt(text[start:], aim)
	return start + n, startRunes + utf8.RuneCountInString(text[start:start+n])
}

// childStart chooses where the child behind one that ends at end begins: a sentence or some words
// before it.
func childStart(text string, start, end, endRunes int, breaks []breakpoint) (at, runes int) {
	for i := len(breaks) - 1; i >= 0; i-- {
		b := breaks[i]
		back := endRunes - b.runes
		if back > overlapMax {
			break
		}
		if back >= overlapMin && b.at > start {
			return b.at, b.runes
		}
	}
	if at = wordBefore(text, start, end); at <= start {
		at = clusterBefore(text, start, end)
	}
	return at, endRunes - utf8.RuneCountInString(text[at:end])
}

// wordBefore returns the beginning of the word that is nearest to overlapAim runes before end, or 0.
func wordBefore(text string, start, end int) int {
	best := 0
	for n, at := 0, end; at > start && n < overlapMax; n++ {
		r, size := utf8.DecodeLastRuneInString(text[:at])
		if unicode.IsSpace(r) && n >= overlapMin && at < end && startsWord(text[at:]) {
			if best = at; n >= overlapAim {
				break
			}
		}
		at -= size
	}
	return best
}

func startsWord(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return !unicode.IsSpace(r) && !extends(r)
}

// clusterBefore returns the last boundary between grapheme clusters that is overlapAim runes or more
// before end, or, where one cluster has all of that, a boundary between runes.
func clusterBefore(text string, start, end int) int {
	limit := end
	for n := 0; n < overlapAim && limit > start; n++ {
		_, size := utf8.DecodeLastRuneInString(text[:limit])
		limit -= size
	}
	at, rest, state := start, text[start:end], -1
	for at < limit {
		var cluster string
		cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if at+len(cluster) > limit {
			break
		}
		at += len(cluster)
	}
	if at <= start || utf8.RuneCountInString(text[at:end]) > overlapMax {
		return limit
	}
	return at
}

// cutAt returns the byte offset at which s is to be cut so that at most limit runes (at least one)
// are before it: behind white space where there is some in the last third, else between grapheme
// clusters, else, in a cluster that is longer than limit, between runes.
func cutAt(s string, limit int) int {
	limit = max(limit, 1)
	end, space, n := 0, 0, 0
	blank := false
	for end < len(s) {
		r, size := utf8.DecodeRuneInString(s[end:])
		if blank && !unicode.IsSpace(r) && !extends(r) && n >= limit-limit/3 {
			space = end
		}
		if n == limit {
			break
		}
		blank = unicode.IsSpace(r)
		end += size
		n++
	}
	if end == len(s) {
		return end
	}
	if space > 0 {
		return space
	}
	at, rest, state := 0, s, -1
	for {
		var cluster string
		cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if at+len(cluster) > end {
			break
		}
		at += len(cluster)
	}
	if at < end/2 { // one cluster has most of it
		return end
	}
	return at
}
