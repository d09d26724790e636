package distill

import (
	"context"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"haloingest/pipeline/record"
)

// Offline distils without a model: it chooses sentences by who says them, where they stand and what
// cue words they hold, with fixed weights set by hand; in languages without cue words by the first two and length, which
// its records say. Every record is made of the authors' own sentences. The zero Offline is ready and safe for concurrent use; it must not be copied once used. The
// same conversation gives the same items everywhere.
type Offline struct{ scratch sync.Pool }

// Name names the rules; its number goes up when they change.
func (*Offline) Name() string { return "offline/3" }

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

// basisPlace is the basis of records of a conversation in a language for which there are no cues.
const basisPlace = "position and length"

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
		if q.agent || q.chosen || q.content == 0 || !q.question && q.cues[cueAsk] == 0 || q.cues[cueMood]+q.cues[cueDefer] > 0 {
			continue
		}
		p := pair{question: []*sentence{q}}
		if q.content < 3 { // "How can I fix it?" needs what is before it
			if i == 0 || a.sentences[i-1].turn != q.turn || !a.sentences[i-1].substantive() {
				continue
			}
			p.question = []*sentence{&a.sentences[i-1], q}
		}
		if p.answer = a.answer(i, a.interrogative(q)); len(p.answer) == 0 {
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

// interrogative reports whether a question has the form of one. Others may be rhetorical: "I have not told you that?"
func (a *analysis) interrogative(q *sentence) bool {
	if !a.known || q.cues[cueAsk] > 0 {
		return true
	}
	text := a.c.Turns[q.turn].Text
	if strings.IndexByte(text[q.tokens[len(q.tokens)-1].end:q.span.End], '!') >= 0 { // "what for?!"
		return false
	}
	for i, t := range q.tokens {
		if t.wide || cues.words[t.hash]&wordAsks != 0 && (i < 4 || strings.HasSuffix(text[:t.start], ", ")) {
			return true
		}
	}
	return false
}

// answer returns up to two neighbouring sentences of what agents say next behind question i that do, explain or state
// something, the best and the one behind it; none where they only ask, put off or go elsewhere. What only states
// something has to begin the reply or speak of what was asked, and what is perhaps no question needs the latter.
func (a *analysis) answer(i int, interrogative bool) []*sentence {
	q := &a.sentences[i]
	best, most := -1, 0
	first := true
	for j := i + 1; j < len(a.sentences); j++ {
		s := &a.sentences[j]
		if !s.agent {
			if best >= 0 || !first {
				break
			}
			continue
		}
		if s.speech == small {
			continue
		}
		shared := s.shared(q)
		w := s.solves() + 4*min(shared, 3)
		if (s.speech == doing || s.speech == stating && (first || shared > 0)) && (interrogative || shared > 0) && w > most && s.content >= 3 {
			best, most = j, w
		}
		first = false
	}
	if best < 0 {
		return nil
	}
	if a.continues(best) {
		return []*sentence{&a.sentences[best-1], &a.sentences[best]}
	}
	answers := func(k int, least speech) bool {
		s := &a.sentences[k]
		return s.turn == a.sentences[best].turn && s.speech >= least && s.content >= 3
	}
	switch {
	case best+1 < len(a.sentences) && answers(best+1, stating):
		return []*sentence{&a.sentences[best], &a.sentences[best+1]}
	case best > 0 && answers(best-1, doing):
		return []*sentence{&a.sentences[best-1], &a.sentences[best]}
	}
	return []*sentence{&a.sentences[best]}
}

// shared counts the words of content that two sentences share.
func (s *sentence) shared(other *sentence) (n int) {
	for i, t := range s.tokens {
		if t.digits && !t.telling || cues.words[t.hash] != 0 {
			continue
		}
		same := func(o token) bool { return o.hash == t.hash }
		if slices.ContainsFunc(other.tokens, same) && !slices.ContainsFunc(s.tokens[:i], same) {
			n++
		}
	}
	return n
}

// qa makes a record of a question and its answer.
func (a *analysis) qa(p pair) (Item, bool) {
	q, _ := a.item(record.KnowledgeQA, p.question...)
	r, ok := a.item(record.KnowledgeQA, p.answer...)
	q.Text = "Q: " + strings.ReplaceAll(q.Text, "\n", " ") + "\nA: " + strings.ReplaceAll(r.Text, "\n", " ")
	q.Quotes = append(q.Quotes, r.Quotes...)
	return q, ok
}

// facts are what the customer states that can be looked up or does not change soon: numbers of orders and the like,
// models, versions, amounts, dates; and short answers with a number in them. Those have the agent's question before
// them if they say little by themselves.
func (a *analysis) facts(problem *sentence) [][]*sentence {
	var facts [][]*sentence
	for i := range a.sentences {
		s := &a.sentences[i]
		if s.agent || s == problem || s.question || s.digits == 0 || len(s.tokens) > 40 || s.cues[cueMood] > 0 {
			continue
		}
		if cues.words[s.tokens[0].hash]&wordYou != 0 {
			continue
		}
		if s.repeats(problem) || slices.ContainsFunc(facts, func(f []*sentence) bool { return s.repeats(f[len(f)-1]) }) {
			continue
		}
		fact := []*sentence{s}
		q := a.questionBefore(i)
		if !a.identifies(s) && (q == nil || s.content > 6) {
			continue
		}
		if s.content < 4 {
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

// identifies reports whether a sentence has a word with digits that names a thing, a version, an amount or a date, rather
// than to count something.
func (a *analysis) identifies(s *sentence) bool {
	text := a.c.Turns[s.turn].Text
	for i, t := range s.tokens {
		if !t.telling {
			continue
		}
		word := text[t.start:t.end]
		digits := strings.IndexFunc(word, func(r rune) bool { return r < '0' || r > '9' })
		if digits >= 0 { // letters, too
			if cues.words[wordHash(word[digits:])]&wordUnit == 0 {
				return true
			}
			continue
		}
		if len(word) >= 4 || currency(text[:t.start], text[t.end:]) {
			return true
		}
		if i > 0 && named(text, s.tokens[i-1], t) || i+1 < len(s.tokens) && joined(text, t, s.tokens[i+1]) || i+1 < len(s.tokens) && cues.months[s.tokens[i+1].hash] {
			return true
		}
	}
	return false
}

// named reports whether a number belongs to the word before it: "Windows 11", "L-300", "11.1.2", "March 3".
func named(text string, before, t token) bool {
	r, _ := utf8.DecodeRuneInString(text[before.start:])
	return joined(text, before, t) || cues.months[before.hash] || unicode.IsUpper(r) && cues.words[before.hash] == 0
}

// joined reports whether two words are written as one name: "88-1204-C", "11.1". Two numbers with a dash are a range.
func joined(text string, t, next token) bool {
	if next.start-t.end != 1 {
		return false
	}
	return text[t.end] == '.' || strings.IndexByte("-_", text[t.end]) >= 0 && !(t.digits && next.digits && next.end-t.start < 8)
}

// currency reports whether the text before an amount ends with a sign for one, or that behind it begins with one.
func currency(before, behind string) bool {
	last, _ := utf8.DecodeLastRuneInString(strings.TrimRight(before, " "))
	first, _ := utf8.DecodeRuneInString(strings.TrimLeft(behind, " .,0123456789"))
	return unicode.Is(unicode.Sc, last) || unicode.Is(unicode.Sc, first)
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
	if !a.known {
		it.Basis = basisPlace
	}
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
