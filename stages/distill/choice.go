package distill

import (
	"cmp"
	"slices"
)

// The weights by which sentences are chosen. They are set by hand; halving or doubling any of them but
// the two for place moves the quality figures of TestQualityOnDialogues by less than half a point.
//
// Macros are known by their shapes, which are cues, and within a conversation by being alike. That a workspace says a
// sentence in many conversations is not counted: what is made of a conversation would depend on which others were read
// before, and among the sentences said most often are the answers worth keeping (how to install the thing anew).
const (
	customerPlace = 5  // off for each sentence that the customer said before
	openingBonus  = 10 // for what is said before any agent spoke
	problemPlace  = 2  // the same in the choice of the problem
	shortPenalty  = 4  // off in that choice for saying little
	agentPlace    = 3  // off for each sentence that agents said after
	troubleMost   = 8  // most words of content that count in that choice
	contentMost   = 12 // one for each word of content, up to so many
	faultWeight   = 3  // for each complaint, up to two
	matterWeight  = 2  // for each wish or noun of trouble, up to two
	askWeight     = 2  // for a question by the customer
	pleasedWeight = 2  // off for thanks and good news
	actWeight     = 4  // for each cue of something done or told to do, up to two
	contactWeight = 3  // for asking the customer to write or call, up to two
	politeWeight  = 2  // off for beginning with small talk
)

// Sentences and words of each side that a summary has at most: people who summarise support
// conversations use about 35 words in all. The best sentence of a side may be longer.
const (
	sideSentences = 2
	customerWords = 24
	agentWords    = 40
)

// pick chooses the summary, in the order of the conversation: early sentences of the customer that say
// what it is about, and late ones of agents that say what was done. The problem is the sentence of the customer that says best what
// is wrong, from before any agent spoke unless nothing was said there; nil if there is none. Chosen answers count only where the
// customer says nothing else.
func (a *analysis) pick() (summary []*sentence, problem *sentence) {
	var customer, agent []*sentence
	place, most, opened := 0, 0, false
	for i := range a.sentences {
		if s := &a.sentences[i]; !s.agent && !s.chosen && s.substantive() {
			s.weight = s.matter() - customerPlace*place
			if s.opening {
				s.weight += openingBonus
			}
			if s.opening || s.content >= 3 { // behind that, short ones are answers to questions
				customer = appendBest(customer, s)
			}
			if opened = opened || s.opening && s.states(); s.opening || !opened {
				if w := s.trouble() - problemPlace*place + openingBonus*b2i(s.opening); problem == nil || w > most {
					problem, most = s, w
				}
			}
			place++
		}
	}
	for _, chosen := range [...]bool{false, true} { // better than nothing
		for i := 0; i < len(a.sentences) && len(customer) == 0; i++ {
			if s := &a.sentences[i]; !s.agent && s.chosen == chosen && s.content > 0 {
				customer = append(customer, s)
				if problem == nil {
					problem = s
				}
			}
		}
	}
	place = 0
	for i := len(a.sentences) - 1; i >= 0; i-- {
		if s := &a.sentences[i]; s.agent && s.substantive() {
			s.weight = s.doing() - agentPlace*place
			place++
			agent = appendBest(agent, s)
		}
	}
	summary = append(within(customer, customerWords), within(agent, agentWords)...)
	slices.SortFunc(summary, func(x, y *sentence) int {
		if x.agent != y.agent { // what it is about, then what was done
			return cmp.Compare(b2i(x.agent), b2i(y.agent))
		}
		return cmp.Or(cmp.Compare(x.turn, y.turn), cmp.Compare(x.span.Start, y.span.Start))
	})
	return summary, problem
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// appendBest keeps the sentences of the highest weight, best first; of equal ones the earlier added.
func appendBest(best []*sentence, s *sentence) []*sentence {
	for i, b := range best {
		if s.alike(b) { // the same again, or the same macro
			if s.weight > b.weight {
				best[i] = s
				slices.SortStableFunc(best, func(x, y *sentence) int { return cmp.Compare(y.weight, x.weight) })
			}
			return best
		}
	}
	at := slices.IndexFunc(best, func(b *sentence) bool { return s.weight > b.weight })
	if at < 0 {
		at = len(best)
	}
	if at == sideSentences {
		return best
	}
	best = slices.Insert(best, at, s)
	return best[:min(len(best), sideSentences)]
}

// alike reports whether two sentences share more than two thirds of their words of content.
func (s *sentence) alike(other *sentence) bool {
	least := min(s.content, other.content)
	return least >= 2 && 3*s.shared(other) > 2*max(s.content, other.content)
}

// within leaves out what goes beyond so many words, but never the first.
func within(picks []*sentence, words int) []*sentence {
	n := 0
	for i, s := range picks {
		if n += len(s.tokens); n > words && i > 0 {
			return picks[:i]
		}
	}
	return picks
}

// matter weighs how well a customer's sentence says what the conversation is about.
func (s *sentence) matter() int {
	w := min(s.content, contentMost)
	w += faultWeight * int(min(s.cues[cueFault]+s.cues[cueMood], 2))
	w += matterWeight * int(min(s.cues[cueMatter], 2))
	if s.question {
		w += askWeight
	}
	return w - pleasedWeight*int(s.cues[cueSolved]+s.cues[cueThanks])
}

// states reports whether a customer's sentence is enough to say what the problem is.
func (s *sentence) states() bool {
	return s.content >= 3 || s.question || s.cues[cueFault]+s.cues[cueMatter] > 0
}

// trouble weighs how well a customer's sentence says what the problem is: feelings do not, and more words than some do not say more.
func (s *sentence) trouble() int {
	w := min(s.content, troubleMost) - shortPenalty*b2i(s.content < 3)
	w += faultWeight * int(min(s.cues[cueFault], 2))
	w += matterWeight * int(min(s.cues[cueMatter], 2))
	if s.question {
		w += askWeight
	}
	return w - pleasedWeight*int(s.cues[cueSolved]+s.cues[cueThanks]+s.cues[cueMood])
}

// doing weighs how much an agent's sentence says of what was done.
func (s *sentence) doing() int {
	w := min(s.content, contentMost)
	w += actWeight * int(min(s.cues[cueAct]+s.cues[cueTry]+s.cues[cuePass]+s.cues[cueDefer], 2))
	w += contactWeight * int(min(s.cues[cueContact]+s.cues[cueInfo]+s.cues[cueMove], 2))
	if s.polite {
		w -= politeWeight
	}
	return w
}

// solves weighs how much of a solution an agent's sentence is; asking to write or call is none.
func (s *sentence) solves() int {
	return 3*int(min(s.cues[cueAct]+s.cues[cueTry], 3)) + min(s.content, 10) - 3*int(s.cues[cueContact]+s.cues[cueInfo]+s.cues[cueMove]) - 2*int(s.cues[cueOffer])
}
