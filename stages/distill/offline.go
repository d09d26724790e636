package distill

import (
	"context"
	"slices"
	"strings"
	"sync"

	"haloingest/pipeline/record"
)

// Offline distils without a model: it chooses sentences by who says them, where they stand and what
// cue words they hold, with fixed weights set by hand. Every record is made of the authors' own
// sentences. The zero Offline is ready and safe for concurrent use; it must not be copied once used. The
// same conversation gives the same items everywhere.
type Offline struct{ scratch sync.Pool }

// Name names the rules; its number goes up when they change.
func (*Offline) Name() string { return "offline/1" }

// Distill returns the summary, the problem, the resolution or the open issue, questions that were
// answered, and facts that the customer gave.
func (o *Offline) Distill(_ context.Context, c *Conversation) ([]Item, error) {
	a, _ := o.scratch.Get().(*analysis)
	if a == nil {
		a = new(analysis)
	}
	a.read(c)
	items := a.items()
	o.scratch.Put(a)
	return items, nil
}

// Most records of a kind that one conversation gives.
const (
	maxQA    = 3
	maxFacts = 3
)

func (a *analysis) items() []Item {
	var items []Item
	add := func(it Item, ok bool) {
		if ok {
			items = append(items, it)
		}
	}
	customer, agent := a.pick()
	add(a.item(record.KnowledgeSummary, append(slices.Clone(customer), agent...)...))
	problem := a.problem()
	if problem != nil {
		it, ok := a.item(record.KnowledgeProblem, problem)
		if subject := a.c.Subject; ok && subject != "" && !strings.Contains(fold(it.Text), fold(subject)) {
			it.Text = subject + "\n" + it.Text
		}
		add(it, ok)
	}
	add(a.outcome(problem))
	for _, pair := range a.answers() {
		add(a.qa(pair[0], pair[1:]))
	}
	for _, s := range a.facts(problem) {
		add(a.item(record.KnowledgeFact, s))
	}
	return items
}

// pick is the first two sentences of the customer and the last two of agents that say something.
func (a *analysis) pick() (customer, agent []*sentence) {
	for i := range a.sentences {
		if s := &a.sentences[i]; !s.agent && s.substantive() && len(customer) < 2 {
			customer = append(customer, s)
		}
	}
	for i := len(a.sentences) - 1; i >= 0; i-- {
		if s := &a.sentences[i]; s.agent && s.substantive() && len(agent) < 2 {
			agent = append(agent, s)
		}
	}
	slices.Reverse(agent)
	return customer, agent
}

// problem is the sentence in which the customer says best what is wrong or wanted, or nil.
func (a *analysis) problem() *sentence {
	var best *sentence
	most, place := 0, 0
	for i := range a.sentences {
		s := &a.sentences[i]
		if s.agent || !s.substantive() {
			continue
		}
		weight := min(s.content, 12) + 6*int(min(s.cues[cueFault], 3)) - 8*int(s.cues[cueSolved])
		if s.question || s.cues[cueAsk] > 0 {
			weight += 4
		}
		if s.opening {
			weight += max(20-4*place, 8)
		}
		if s.content < 4 {
			weight -= 10
		}
		place++
		if best == nil || weight > most {
			best, most = s, weight
		}
	}
	return best
}

// outcome is the resolution, where there is evidence of one, else the issue that is open.
func (a *analysis) outcome(problem *sentence) (Item, bool) {
	solution := a.solution()
	evidence := a.evidence(solution)
	if solution != nil && len(evidence) > 0 {
		it, ok := a.item(record.KnowledgeResolution, solution...)
		it.Evidence = evidence
		return it, ok
	}
	if problem == nil {
		return Item{}, false
	}
	open := []*sentence{problem}
	if s := a.complaint(problem); s != nil {
		open = append(open, s)
	}
	it, ok := a.item(record.KnowledgeOpenIssue, open...)
	switch last := a.c.Turns[len(a.c.Turns)-1]; {
	case a.c.Rating == 1 || a.c.Rating == 2:
		it.Evidence = []string{"rated low"}
	case !slices.ContainsFunc(a.c.Turns, func(t Turn) bool { return t.Speaker == record.SpeakerAgent }):
		it.Evidence = []string{"not answered"}
	case last.Speaker == record.SpeakerUser:
		it.Evidence = []string{"customer wrote last"}
	default:
		it.Evidence = []string{"no sign of a solution"}
	}
	return it, ok
}

// solution is the last turn of an agent that does or explains something: its best sentence, and the
// one beside it where that belongs to it. Where no turn does, it is the last substantive sentence.
func (a *analysis) solution() []*sentence {
	var fallback *sentence
	for end := len(a.sentences); end > 0; {
		start := end - 1
		for start > 0 && a.sentences[start-1].turn == a.sentences[start].turn {
			start--
		}
		var best *sentence
		for i := start; i < end; i++ {
			s := &a.sentences[i]
			if !s.agent || !s.substantive() {
				continue
			}
			if fallback == nil || fallback.turn == s.turn && !s.question {
				fallback = s
			}
			if s.cues[cueAct] > 0 && !s.question && (best == nil || s.solves() >= best.solves()) {
				best = s
			}
		}
		if best != nil {
			picks := []*sentence{best}
			if i := a.index(best); i > start {
				if s := &a.sentences[i-1]; s.substantive() && !s.question && s.cues[cueAct] > 0 {
					picks = []*sentence{s, best}
				}
			}
			return picks
		}
		end = start
	}
	if fallback == nil {
		return nil
	}
	return []*sentence{fallback}
}

func (a *analysis) index(s *sentence) int {
	return slices.IndexFunc(a.sentences, func(e sentence) bool { return e.turn == s.turn && e.span == s.span })
}

// solves weighs how much of a solution an agent's sentence is.
func (s *sentence) solves() int {
	return 3*int(min(s.cues[cueAct], 3)) + min(s.content, 10) - 3*int(s.cues[cueContact]) - 2*int(s.cues[cueOffer])
}

// evidence says why the conversation counts as solved: it is closed, rated 4 or 5, or the customer
// thanks or confirms after the solution was told. A rating of 1 or 2, or a last word of the customer
// that it still fails, outweighs all of that.
func (a *analysis) evidence(solution []*sentence) []string {
	if len(solution) == 0 || a.c.Rating == 1 || a.c.Rating == 2 {
		return nil
	}
	told := solution[0].turn
	thanked, denied := false, false
	for i := range a.sentences {
		s := &a.sentences[i]
		if s.agent || s.turn <= told {
			continue
		}
		bad := s.cues[cueDenied] > 0
		good := !bad && (s.cues[cueSolved] > 0 || s.cues[cueThanks] > 0 && s.cues[cueFault] == 0)
		if bad {
			thanked, denied = false, true
		} else if good {
			thanked = true
			denied = denied && s.cues[cueSolved] == 0
		}
	}
	if denied {
		return nil
	}
	var why []string
	if a.c.State == "closed" {
		why = append(why, "closed")
	}
	if a.c.Rating >= 4 {
		why = append(why, "rated")
	}
	if thanked {
		why = append(why, "thanked")
	}
	return why
}

// complaint is the customer's last sentence that says what still fails, or nil.
func (a *analysis) complaint(problem *sentence) *sentence {
	for i := len(a.sentences) - 1; i >= 0; i-- {
		s := &a.sentences[i]
		if s.turn <= problem.turn {
			return nil
		}
		if !s.agent && s.substantive() && (s.cues[cueFault] > 0 || s.cues[cueDenied] > 0 || s.question) {
			return s
		}
	}
	return nil
}

// answers pairs questions of the customer with what the next agent turn says about them.
func (a *analysis) answers() [][]*sentence {
	var pairs [][]*sentence
	for i := range a.sentences {
		q := &a.sentences[i]
		if q.agent || q.content < 3 || !q.question && q.cues[cueAsk] == 0 {
			continue
		}
		var answer []*sentence
		turn := -1
		for j := i + 1; j < len(a.sentences); j++ {
			s := &a.sentences[j]
			if !s.agent {
				if turn >= 0 {
					break
				}
				continue
			}
			if turn < 0 {
				turn = s.turn
			}
			if s.turn != turn {
				break
			}
			if s.content >= 3 && !s.question && s.cues[cueAct] > 0 && s.solves() >= 6 && len(answer) < 2 {
				answer = append(answer, s)
			}
		}
		if len(answer) == 0 {
			continue
		}
		if n := len(pairs); n > 0 && pairs[n-1][1] == answer[0] { // one answer to two questions: the later one
			pairs[n-1] = append([]*sentence{q}, answer...)
			continue
		}
		if pairs = append(pairs, append([]*sentence{q}, answer...)); len(pairs) == maxQA {
			break
		}
	}
	return pairs
}

// qa makes a record of a question and its answer.
func (a *analysis) qa(question *sentence, answer []*sentence) (Item, bool) {
	it, ok := a.item(record.KnowledgeQA, append([]*sentence{question}, answer...)...)
	if !ok {
		return it, false
	}
	q, rest, _ := strings.Cut(it.Text, "\n")
	it.Text = "Q: " + q + "\nA: " + strings.ReplaceAll(rest, "\n", " ")
	return it, true
}

// facts are what the customer states with a number in it: versions, devices, dates, amounts, orders.
func (a *analysis) facts(problem *sentence) []*sentence {
	var facts []*sentence
	for i := range a.sentences {
		s := &a.sentences[i]
		if s.agent || s == problem || s.question || s.digits == 0 || s.content < 2 || len(s.tokens) > 40 {
			continue
		}
		if facts = append(facts, s); len(facts) == maxFacts {
			break
		}
	}
	return facts
}

// item makes a record of sentences in their order, one line each.
func (a *analysis) item(kind string, picks ...*sentence) (Item, bool) {
	it := Item{Kind: kind}
	var b strings.Builder
	for _, s := range picks {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		writeFlat(&b, a.text(s))
		it.Quotes = append(it.Quotes, Quote{Turn: s.turn, Start: s.span.Start, End: s.span.End})
	}
	it.Text = b.String()
	return it, len(it.Quotes) > 0
}

// writeFlat writes a sentence on one line.
func writeFlat(b *strings.Builder, s string) {
	if strings.IndexByte(s, '\n') < 0 {
		b.WriteString(s)
		return
	}
	for i, w := range strings.Fields(s) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(w)
	}
}
