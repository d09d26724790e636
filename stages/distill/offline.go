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
func (*Offline) Name() string { return "offline/2" }

// Distill returns the summary, the problem, the resolution or the open issue, questions that were
// answered, and facts that the customer gave. It never fails and does not look at ctx.
func (o *Offline) Distill(_ context.Context, c *Conversation) ([]Item, error) {
	a, _ := o.scratch.Get().(*analysis)
	if a == nil {
		a = new(analysis)
	}
	a.read(c)
	items := a.items()
	a.c = nil
	o.scratch.Put(a)
	return items, nil
}

// Most records of a kind that one conversation gives.
const (
	maxQA    = 3
	maxFacts = 3
)

func (a *analysis) items() []Item {
	items := make([]Item, 0, 8)
	add := func(it Item, ok bool) {
		if ok {
			items = append(items, it)
		}
	}
	summary, problem := a.pick()
	add(a.item(record.KnowledgeSummary, summary...))
	if problem != nil {
		it, ok := a.item(record.KnowledgeProblem, problem)
		if subject := a.c.Subject; ok && subject != "" && !strings.Contains(strings.ToLower(it.Text), strings.ToLower(subject)) {
			it.Text = subject + "\n" + it.Text
		}
		add(it, ok)
	}
	add(a.outcome(problem))
	for _, p := range a.answers() {
		add(a.qa(p))
	}
	for _, fact := range a.facts(problem) {
		add(a.item(record.KnowledgeFact, fact...))
	}
	return items
}

// pair is a question and its answer.
type pair struct{ question, answer []*sentence }

// answers pairs questions of the customer with what the next agent turn says about them.
func (a *analysis) answers() []pair {
	var pairs []pair
	for i := range a.sentences {
		q := &a.sentences[i]
		if q.agent || q.chosen || q.content == 0 || !q.question && q.cues[cueAsk] == 0 {
			continue
		}
		p := pair{question: []*sentence{q}, answer: a.answer(i)}
		if q.content < 3 { // "How can I fix it?" needs what is before it
			if i == 0 || a.sentences[i-1].turn != q.turn || !a.sentences[i-1].substantive() {
				continue
			}
			p.question = []*sentence{&a.sentences[i-1], q}
		}
		if len(p.answer) == 0 {
			continue
		}
		if n := len(pairs); n > 0 && pairs[n-1].answer[0] == p.answer[0] { // one answer to two questions: the later one
			pairs[n-1] = p
			continue
		}
		if pairs = append(pairs, p); len(pairs) == maxQA {
			break
		}
	}
	return pairs
}

// answer returns up to two sentences of the first agent turn behind sentence i that do or explain
// something; none where that turn only asks or puts off.
func (a *analysis) answer(i int) []*sentence {
	var answer []*sentence
	turn := -1
	for j := i + 1; j < len(a.sentences); j++ {
		s := &a.sentences[j]
		if !s.agent && turn < 0 {
			continue
		}
		if turn < 0 {
			turn = s.turn
		}
		if s.turn != turn || len(answer) == 2 {
			break
		}
		if s.content >= 3 && s.acts() && s.solves() >= 6 {
			answer = append(answer, s)
		}
	}
	return answer
}

// qa makes a record of a question and its answer.
func (a *analysis) qa(p pair) (Item, bool) {
	q, _ := a.item(record.KnowledgeQA, p.question...)
	r, ok := a.item(record.KnowledgeQA, p.answer...)
	q.Text = "Q: " + strings.ReplaceAll(q.Text, "\n", " ") + "\nA: " + strings.ReplaceAll(r.Text, "\n", " ")
	q.Quotes = append(q.Quotes, r.Quotes...)
	return q, ok
}

// facts are what the customer states with a number in it: versions, devices, dates, amounts, orders.
// One that says little by itself has the agent's question before it.
func (a *analysis) facts(problem *sentence) [][]*sentence {
	var facts [][]*sentence
	for i := range a.sentences {
		s := &a.sentences[i]
		if s.agent || s == problem || s.question || s.digits == 0 || len(s.tokens) > 40 {
			continue
		}
		if s.repeats(problem) || slices.ContainsFunc(facts, func(f []*sentence) bool { return s.repeats(f[len(f)-1]) }) {
			continue
		}
		fact := []*sentence{s}
		if s.content < 4 {
			q := a.questionBefore(i)
			if q == nil && s.content < 3 {
				continue
			}
			if q != nil {
				fact = []*sentence{q, s}
			}
		}
		if facts = append(facts, fact); len(facts) == maxFacts {
			break
		}
	}
	return facts
}

// repeats reports whether all numbers of s are in the other sentence, which may be nil.
func (s *sentence) repeats(other *sentence) bool {
	if other == nil {
		return false
	}
	for _, t := range s.tokens {
		if t.telling && !slices.ContainsFunc(other.tokens, func(o token) bool { return o.hash == t.hash }) {
			return false
		}
	}
	return true
}

// questionBefore is the last question of the agent turn that sentence i replies to, or nil.
func (a *analysis) questionBefore(i int) *sentence {
	turn := a.sentences[i].turn
	for i--; i >= 0 && (a.sentences[i].turn == turn || a.sentences[i].agent); i-- {
		s := &a.sentences[i]
		if s.turn == turn {
			continue
		}
		turn = s.turn // only the turn right before
		if s.agent && s.question && s.content >= 2 {
			return s
		}
	}
	return nil
}

// item makes a record of sentences in the order given, one line each.
func (a *analysis) item(kind string, picks ...*sentence) (Item, bool) {
	if len(picks) == 0 {
		return Item{}, false
	}
	it := Item{Kind: kind, Quotes: make([]Quote, 0, len(picks))}
	var b strings.Builder
	for i, s := range picks {
		if i > 0 {
			b.WriteByte('\n')
		}
		writeFlat(&b, a.text(s))
		it.Quotes = append(it.Quotes, Quote{Turn: s.turn, Start: s.span.Start, End: s.span.End})
	}
	it.Text = b.String()
	return it, true
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
