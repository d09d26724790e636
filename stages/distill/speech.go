package distill

import (
	"strings"
	"unicode/utf8"
)

// speech is what an agent does by saying a sentence; what comes later is more of a solution.
type speech uint8

const (
	small    speech = iota // small talk, or too little to go by
	asking                 // asks, or helps the customer to answer
	moving                 // goes on by direct message, e-mail or telephone
	stalling               // puts off
	hinting                // advises by a question: "Have you tried to restart it?"
	passing                // tells somebody else
	stating                // states something
	doing                  // instructs, explains, says what was or will be done
)

// classify sets what each agent's sentence is.
func (a *analysis) classify() {
	for i := range a.sentences {
		s := &a.sentences[i]
		if !s.agent {
			continue
		}
		var before *sentence
		if i > 0 && a.sentences[i-1].turn == s.turn {
			before = &a.sentences[i-1]
		}
		s.speech = a.speech(s, before)
	}
}

func (a *analysis) speech(s, before *sentence) speech {
	c := &s.cues
	acts := c[cueAct] + c[cueTry]
	switch {
	case !s.substantive():
		return small
	case c[cueMove] > 0:
		return moving
	case s.question:
		if acts > 0 && c[cueInfo] == 0 && c[cueOffer] == 0 {
			return hinting
		}
		return asking
	case c[cueInfo] > 0, c[cueAsk] > 0:
		return asking
	case before != nil && before.asks() && a.refersBack(s):
		return asking
	case c[cueDefer] > 0, c[cueContact] > 0 && acts == 0:
		return stalling
	case c[cuePass] > 0 && c[cueOffer] == 0:
		return passing
	case c[cueOffer] > 0:
		return small
	case acts > 0:
		return doing
	case s.content >= 3 && !s.polite && !(a.known && strings.HasSuffix(a.text(s), "!")): // exclamations are mostly sympathy
		if !a.known {
			return doing
		}
		return stating
	}
	return small
}

func (s *sentence) asks() bool { return s.question || s.cues[cueInfo] > 0 }

// refersBack reports whether a sentence begins with a word for what was said before it: "That can cause it".
func (a *analysis) refersBack(s *sentence) bool {
	return len(s.tokens) > 0 && cues.words[s.tokens[0].hash]&wordBack != 0
}

// continues reports whether sentence i goes on with one that was cut off at the end of the message before it.
func (a *analysis) continues(i int) bool {
	if i == 0 || i >= len(a.sentences) {
		return false
	}
	s, before := &a.sentences[i], &a.sentences[i-1]
	if !s.agent || !before.agent || !s.first || s.turn == before.turn {
		return false
	}
	text := a.text(before)
	cut := strings.HasSuffix(text, "..") || strings.HasSuffix(text, "…")
	if before.content < 2 || !cut && endsClause(text) {
		return false
	}
	r, _ := utf8.DecodeRuneInString(a.text(s))
	return r >= 'a' && r <= 'z'
}
