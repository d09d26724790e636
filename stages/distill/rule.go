package distill

import (
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"haloingest/pipeline/record"
)

// Rules are an organisation's learning rules, as Halo has them (halo.md, 3.9).
type Rules struct {
	// Topics: with any, only conversations that match at least one are distilled. Offline the match
	// is lexical: half or more of the topic's content words occur in the conversation, in this or
	// another ending. The raw layer is not affected.
	Topics []string
	// Keywords: a conversation with one of them anywhere, in any case, is not learned from: neither
	// layer has it. Halo's pages leave open whether the rule gates the raw layer; who keeps a word
	// from being learned will not expect an agent to find it all the same. Anywhere means the
	// subject and every message, of notes and bots too.
	Keywords []string
	// Instructions guide a model; they filter nothing.
	Instructions []string
}

type ruleSet struct {
	topics       [][]uint64 // the stems of each topic
	keywords     []string   // folded
	instructions []string
}

func compileRules(r Rules) *ruleSet {
	s := &ruleSet{instructions: r.Instructions}
	for _, k := range r.Keywords {
		if k = fold(strings.Join(strings.Fields(k), " ")); k != "" {
			s.keywords = append(s.keywords, k)
		}
	}
	for _, topic := range r.Topics {
		if stems := contentStems(nil, topic); len(stems) > 0 {
			s.topics = append(s.topics, stems)
		}
	}
	return s
}

// fold returns the form in which texts are compared without regard to case.
func fold(s string) string { return norm.NFC.String(cases.Fold().String(norm.NFC.String(s))) }

// forbids reports whether a keyword occurs in the transcript.
func (s *ruleSet) forbids(t *record.TranscriptRow) bool {
	if len(s.keywords) == 0 {
		return false
	}
	if s.hasKeyword(t.Subject) {
		return true
	}
	for i := range t.Messages {
		if s.hasKeyword(t.Messages[i].Text) {
			return true
		}
	}
	return false
}

func (s *ruleSet) hasKeyword(text string) bool {
	if text == "" {
		return false
	}
	text = fold(strings.Join(strings.Fields(text), " "))
	for _, k := range s.keywords {
		if strings.Contains(text, k) {
			return true
		}
	}
	return false
}

// wants reports whether the topic rules let a conversation be distilled.
func (s *ruleSet) wants(c *Conversation) bool {
	if len(s.topics) == 0 {
		return true
	}
	have := map[uint64]bool{}
	for _, stem := range contentStems(nil, c.Subject) {
		have[stem] = true
	}
	var buf []uint64
	for i := range c.Turns {
		for _, p := range c.Turns[i].Parts {
			buf = contentStems(buf[:0], c.Turns[i].Text[p.Start:p.End])
			for _, stem := range buf {
				have[stem] = true
			}
		}
	}
	for _, topic := range s.topics {
		n := 0
		for _, stem := range topic {
			if have[stem] {
				n++
			}
		}
		if 2*n >= len(topic) {
			return true
		}
	}
	return false
}

// contentStems appends the stems of a text's words that carry a topic. A stem is a word's first six
// letters, so that endings do not count: crude, but the same for every language.
func contentStems(dst []uint64, text string) []uint64 {
	for _, t := range appendTokens(nil, text, 0, len(text)) {
		if cues.words[t.hash]&stopWord != 0 {
			continue
		}
		dst = append(dst, stem(text[t.start:t.end]))
	}
	return dst
}

// Stems returns a text's words that carry content, in a form in which endings do not count. Two words with the same stem give the same number.
func Stems(text string) []uint64 { return contentStems(nil, text) }

func stem(word string) uint64 {
	n := 0
	for i := range word {
		if n == 6 {
			return wordHash(word[:i])
		}
		n++
	}
	if n > 3 && (word[len(word)-1] == 's' || word[len(word)-1] == 'S') {
		word = word[:len(word)-1]
	}
	return wordHash(word)
}
