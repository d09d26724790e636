package distill

import (
	"slices"

	"haloingest/pipeline/record"
)

// outcome is, where the customer has a problem, its resolution if there is evidence of one, else the
// issue that is open. A resolution is what an agent said of a solution and, where the customer told how it
// worked or nobody but the customer did, those words behind it, marked as the customer's. That a conversation is closed is evidence only where the last that the
// customer complained of or asked got an answer: one that is moved elsewhere, put off or given up is closed as
// well. So a record can be an open issue where the transcript's outcome, which knows no words, is "resolved".
func (a *analysis) outcome(problem *sentence) (Item, bool) {
	if problem == nil {
		return Item{}, false
	}
	r := a.reaction()
	evidence := a.evidence(r)
	if len(evidence) > 0 {
		solution := a.solution(r)
		if solution == nil && r.before != nil && a.answeredBehind(r.since) {
			r = *r.before // a question behind the thanks, which was answered, does not take them back
			evidence = a.evidence(r)
			solution = a.solution(r)
		}
		it, ok := a.item(record.KnowledgeResolution, solution...)
		if r.solved && (!ok || r.says) {
			words := []*sentence{r.told}
			if next := a.behind(r.told); !ok && next != nil && next.substantive() && !next.question {
				words = append(words, next) // they say how
			}
			told, _ := a.item(record.KnowledgeResolution, words...)
			if ok {
				it.Text += "\n"
			}
			it.Text += "Customer: " + told.Text
			it.Kind, it.Basis, it.Quotes, ok = told.Kind, told.Basis, append(it.Quotes, told.Quotes...), true
		}
		if ok {
			it.Evidence = evidence
			return it, true
		}
	}
	open := []*sentence{problem}
	if s := a.complaint(problem); s != nil {
		open = append(open, s)
	}
	it, ok := a.item(record.KnowledgeOpenIssue, open...)
	it.Evidence = []string{a.whyOpen(r)}
	return it, ok
}

func (a *analysis) whyOpen(r reaction) string {
	agents := func(t Turn) bool { return t.Speaker == record.SpeakerAgent }
	switch {
	case a.ratedLow():
		return "rated low"
	case !slices.ContainsFunc(a.c.Turns, agents):
		return "not answered"
	case a.c.Turns[len(a.c.Turns)-1].Speaker == record.SpeakerUser && !r.thanked:
		return "customer wrote last"
	case r.denied:
		return "customer denies that it is solved"
	}
	var last [doing + 1]bool
	for i := range a.sentences {
		if s := &a.sentences[i]; s.agent && s.turn > r.since {
			last[s.speech] = true
		}
	}
	switch {
	case last[doing] || last[hinting]:
	case last[moving]:
		return "moved to another channel"
	case last[stalling]:
		return "put off"
	case last[asking]:
		return "customer was asked"
	}
	return "no sign that it is solved"
}

func (a *analysis) ratedLow() bool { return a.c.Rating == 1 || a.c.Rating == 2 }

// reaction is what the customer says of the answers: the last turn that says anything of them counts.
type reaction struct {
	turn    int       // of the thanks or good news; behind the last turn if there are none
	since   int       // of the last question or complaint before it, which a solution has to come behind; -1 if there is none
	asked   bool      // that one asks
	failing bool      // that one complains
	thanked bool      // and nothing was asked or complained of since
	solved  bool      // the customer says that it is well
	denied  bool      // or that it is not
	told    *sentence // the good news
	says    bool      // they say something of their own
	before  *reaction // the thanks or good news behind which nothing came but this question
}

// answeredBehind reports whether an agent said anything behind a turn but to ask, put off or go elsewhere.
func (a *analysis) answeredBehind(turn int) bool {
	answered := false
	for i := range a.sentences {
		if s := &a.sentences[i]; s.agent && s.turn > turn {
			if s.speech == asking || s.speech == moving || s.speech == stalling {
				return false
			}
			answered = true
		}
	}
	return answered
}

// behind returns the sentence behind s in its turn, or nil.
func (a *analysis) behind(s *sentence) *sentence {
	for i := range a.sentences[:len(a.sentences)-1] {
		if &a.sentences[i] == s && a.sentences[i+1].turn == s.turn {
			return &a.sentences[i+1]
		}
	}
	return nil
}

func (a *analysis) reaction() reaction {
	r := reaction{turn: len(a.c.Turns), since: -1}
	answered, askedBefore := false, false
	for i := 0; i < len(a.sentences); {
		turn := a.sentences[i].turn
		var now customerTurn
		for begin := i; i < len(a.sentences) && a.sentences[i].turn == turn; i++ {
			s := &a.sentences[i]
			if s.agent {
				answered = true
				if i == begin {
					askedBefore = false
				}
				askedBefore = askedBefore || s.question
				continue
			}
			now.add(s, i == begin && askedBefore && cues.words[s.tokens[0].hash]&wordNo != 0)
		}
		if a.c.Turns[turn].Speaker == record.SpeakerAgent {
			continue
		}
		askedBefore = false
		switch {
		case !answered:
			r.since, r.asked = turn, r.asked || now.asked
		case now.denied:
			r = reaction{turn: len(a.c.Turns), since: turn, asked: now.asked, failing: true, denied: true}
		case now.solved:
			r.turn, r.solved, r.thanked, r.denied = turn, true, now.thanked, false
			r.told, r.says = now.told, now.says
		case now.asked || now.failing: // thanks in a turn that complains or asks are only manners
			var before *reaction
			if was := r; !now.failing && (was.solved || was.thanked) {
				before = &was
			}
			r = reaction{turn: len(a.c.Turns), since: turn, asked: now.asked, failing: now.failing, denied: r.denied, before: before}
		case now.thanked && !r.denied && !r.solved:
			r.turn, r.thanked = turn, true
		case now.no && !r.solved && !r.thanked:
			r.since = turn
		}
	}
	return r
}

// customerTurn is what one turn of the customer says.
type customerTurn struct {
	thanked, denied, solved, asked, failing, no, says bool
	told                                              *sentence
}

func (now *customerTurn) add(s *sentence, no bool) {
	now.no = now.no || no
	now.thanked = now.thanked || s.cues[cueThanks] > 0
	now.denied = now.denied || s.cues[cueDenied] > 0
	now.asked = now.asked || s.question
	now.failing = now.failing || s.cues[cueFault]+s.cues[cueBut]+s.cues[cueMood] > 0
	if s.cues[cueSolved] > 0 && s.cues[cueDenied] == 0 && !s.question && !s.has(wordIf) {
		now.solved = true
		if says := s.content >= 2 && len(s.tokens) >= 5; now.told == nil || says && !now.says {
			now.told, now.says = s, says
		}
	}
}

// evidence says why the conversation counts as solved: it is closed, rated 4 or 5, or the customer thanks
// or says that it is well. A rating of 1 or 2, or a last word of the customer that it still fails, outweighs all
// of that. Whether there is a solution that it speaks for is another question.
func (a *analysis) evidence(r reaction) []string {
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
	switch {
	case r.solved:
		why = append(why, "confirmed")
	case r.thanked:
		why = append(why, "thanked")
	}
	return why
}

// solution is taken from what agents said last, behind the customer's last question or complaint
// and before the thanks or good news: its best sentence, with the one behind or before it where that belongs to it.
// Advice in the form of a question counts only if the customer confirms it, a mere statement only as an answer, and
// that somebody was told only if the customer did not complain. It is nil if there is none.
func (a *analysis) solution(r reaction) []*sentence {
	mayPass := !r.failing || r.thanked || r.solved
	rank := func(s *sentence) int {
		if !s.agent || s.turn >= r.turn || s.turn <= r.since {
			return 0
		}
		switch s.speech {
		case doing:
			return 100 + s.solves()
		case hinting:
			if r.solved || r.thanked {
				return 80 + s.solves()
			}
		case passing:
			if mayPass {
				return 60 + s.solves()
			}
		case stating:
			if r.asked || r.thanked || r.solved {
				return 40 + s.solves()
			}
		}
		return 0
	}
	best, most := -1, 0
	for i := len(a.sentences) - 1; i >= 0; i-- {
		s := &a.sentences[i]
		if !s.agent && most >= 60 { // earlier ones only for want of more than a statement
			break
		}
		if n := rank(s); n > most {
			best, most = i, n
		}
	}
	if best < 0 {
		return nil
	}
	alike := func(i int) bool {
		return i >= 0 && i < len(a.sentences) && rank(&a.sentences[i]) >= min(most/20*20, 100)
	}
	switch {
	case a.continues(best):
		return []*sentence{&a.sentences[best-1], &a.sentences[best]}
	case a.continues(best + 1):
		return []*sentence{&a.sentences[best], &a.sentences[best+1]}
	case alike(best+1) && a.continues(best+2):
		return []*sentence{&a.sentences[best], &a.sentences[best+1], &a.sentences[best+2]}
	case alike(best + 1):
		return []*sentence{&a.sentences[best], &a.sentences[best+1]}
	case alike(best - 1):
		return []*sentence{&a.sentences[best-1], &a.sentences[best]}
	}
	return []*sentence{&a.sentences[best]}
}

// has reports whether a sentence has a word of a kind.
func (s *sentence) has(kind uint16) bool {
	return slices.ContainsFunc(s.tokens, func(t token) bool { return cues.words[t.hash]&kind != 0 })
}

// complaint is the last sentence behind the problem in which the customer says what still fails or
// asks for something, or nil.
func (a *analysis) complaint(problem *sentence) *sentence {
	for i := len(a.sentences) - 1; i >= 0; i-- {
		s := &a.sentences[i]
		if s.turn <= problem.turn {
			break
		}
		if !s.agent && !s.chosen && s.substantive() && (s.cues[cueDenied] > 0 || s.content >= 3 && (s.question || s.cues[cueFault]+s.cues[cueMood] > 0)) {
			return s
		}
	}
	return nil
}
