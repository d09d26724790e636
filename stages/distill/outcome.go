package distill

import (
	"slices"

	"haloingest/pipeline/record"
)

// outcome is, where the customer has a problem, its resolution if there is evidence of one, else the
// issue that is open. A resolution
// is what an agent said last of a solution and, where the customer told how it worked, those words.
func (a *analysis) outcome(problem *sentence) (Item, bool) {
	if problem == nil {
		return Item{}, false
	}
	r := a.reaction()
	solution, strong := a.solution(r.turn)
	if evidence := a.evidence(r, strong); len(solution) > 0 && len(evidence) > 0 {
		if r.told != nil {
			if !strong && solution[0].question {
				solution = solution[:0]
			}
			solution = append(solution, r.told)
		}
		it, ok := a.item(record.KnowledgeResolution, solution...)
		it.Evidence = evidence
		return it, ok
	}
	open := []*sentence{problem}
	if s := a.complaint(problem); s != nil {
		open = append(open, s)
	}
	it, ok := a.item(record.KnowledgeOpenIssue, open...)
	it.Evidence = []string{a.whyOpen()}
	return it, ok
}

func (a *analysis) whyOpen() string {
	agents := func(t Turn) bool { return t.Speaker == record.SpeakerAgent }
	switch {
	case a.ratedLow():
		return "rated low"
	case !slices.ContainsFunc(a.c.Turns, agents):
		return "not answered"
	case a.c.Turns[len(a.c.Turns)-1].Speaker == record.SpeakerUser:
		return "customer wrote last"
	}
	return "no sign that it is solved"
}

func (a *analysis) ratedLow() bool { return a.c.Rating == 1 || a.c.Rating == 2 }

// solution is taken from the last agent turn before the one given that does or explains something: its
// best sentence, with the one behind or before it where that does so too. Where no turn does, it is the last
// substantive sentence of an agent, and not strong; nil if there is none.
func (a *analysis) solution(before int) (picks []*sentence, strong bool) {
	var fallback *sentence
	for end := len(a.sentences); end > 0; {
		start := end - 1
		for start > 0 && a.sentences[start-1].turn == a.sentences[start].turn {
			start--
		}
		best := -1
		for i := start; i < end; i++ {
			s := &a.sentences[i]
			if !s.agent || s.turn >= before || !s.substantive() {
				continue
			}
			if fallback == nil || fallback.question && !s.question || fallback.turn == s.turn && !s.question {
				fallback = s
			}
			if s.acts() && (best < 0 || s.solves() >= a.sentences[best].solves()) {
				best = i
			}
		}
		switch {
		case best < 0:
		case best+1 < end && a.sentences[best+1].acts():
			return []*sentence{&a.sentences[best], &a.sentences[best+1]}, true
		case best > start && a.sentences[best-1].acts():
			return []*sentence{&a.sentences[best-1], &a.sentences[best]}, true
		default:
			return []*sentence{&a.sentences[best]}, true
		}
		end = start
	}
	if fallback == nil {
		return nil, false
	}
	return []*sentence{fallback}, false
}

// acts reports whether an agent's sentence does or explains something, rather than to ask, offer or
// put off.
func (s *sentence) acts() bool {
	return s.substantive() && (s.cues[cueTry] > 0 || s.cues[cueAct] > 0 && !s.question) && s.cues[cueContact] == 0 && s.cues[cueOffer] == 0
}

// evidence says why the conversation counts as solved: it is closed, rated 4 or 5, or the customer
// thanks for a strong solution or says that it is well. A rating of 1 or 2, or a last word of the
// customer that it still fails, outweighs all of that.
func (a *analysis) evidence(r reaction, strong bool) []string {
	if r.denied || a.ratedLow() {
		return nil
	}
	var why []string
	if a.c.State == "closed" {
		why = append(why, "closed")
	}
	if a.c.Rating >= 4 {
		why = append(why, "rated")
	}
	if r.solved && (strong || r.told != nil || len(why) > 0) {
		why = append(why, "confirmed")
	} else if r.thanked && strong {
		why = append(why, "thanked")
	}
	return why
}

// reaction is what the customer says of the answers: the last turn that says anything of them counts.
type reaction struct {
	turn                    int // of the thanks or good news; behind the last turn if there are none
	thanked, solved, denied bool
	told                    *sentence // the good news, where they say something
}

func (a *analysis) reaction() reaction {
	none := reaction{turn: len(a.c.Turns)}
	r := none
	answered := false
	for i := 0; i < len(a.sentences); {
		turn := a.sentences[i].turn
		var now reaction
		var open bool
		for ; i < len(a.sentences) && a.sentences[i].turn == turn; i++ {
			s := &a.sentences[i]
			if s.agent {
				answered = true
				continue
			}
			now.thanked = now.thanked || s.cues[cueThanks] > 0
			now.denied = now.denied || s.cues[cueDenied] > 0
			open = open || s.question || s.cues[cueFault]+s.cues[cueBut] > 0
			if s.cues[cueSolved] > 0 {
				now.solved = true
				if now.told == nil && s.content >= 2 && len(s.tokens) >= 5 {
					now.told = s
				}
			}
		}
		if !answered || a.c.Turns[turn].Speaker == record.SpeakerAgent {
			continue
		}
		now.turn = turn
		switch {
		case now.denied:
			r = none
			r.denied = true
		case now.solved:
			r = now
		case open: // thanks in a turn that complains or asks are only manners
			r = reaction{turn: none.turn, denied: r.denied}
		case now.thanked && !r.denied && !r.solved:
			r = now
		}
	}
	return r
}

// complaint is the last sentence behind the problem in which the customer says what still fails or
// asks for something, or nil.
func (a *analysis) complaint(problem *sentence) *sentence {
	for i := len(a.sentences) - 1; i >= 0; i-- {
		s := &a.sentences[i]
		if s.turn <= problem.turn {
			break
		}
		if !s.agent && !s.chosen && s.substantive() && (s.cues[cueFault]+s.cues[cueDenied] > 0 || s.question && s.content >= 4) {
			return s
		}
	}
	return nil
}
