package model

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"haloingest/pipeline/record"
	"haloingest/stages/distill"
)

const speakerUser = record.SpeakerUser

var kinds = map[string]bool{
	record.KnowledgeSummary: true, record.KnowledgeProblem: true, record.KnowledgeResolution: true,
	record.KnowledgeQA: true, record.KnowledgeFact: true, record.KnowledgeOpenIssue: true,
}

// ground turns the items of an answer into records, and says of each that cannot be one why. The answer and the conversation are compared as they
// were sent, with placeholders; values are put back last.
func (p *prepared) ground(a answer) (items []distill.Item, refused []error) {
	have := map[string]bool{}
	for i, it := range a.Items {
		item, err := p.item(it)
		if err == nil && (it.Kind == record.KnowledgeSummary || it.Kind == record.KnowledgeResolution || it.Kind == record.KnowledgeProblem) && have[it.Kind] {
			err = fmt.Errorf("there is a %s already", it.Kind)
		}
		if err == nil && (it.Kind == record.KnowledgeResolution && have[record.KnowledgeOpenIssue] || it.Kind == record.KnowledgeOpenIssue && have[record.KnowledgeResolution]) {
			err = errors.New("a conversation is not both solved and open")
		}
		if err != nil {
			refused = append(refused, fmt.Errorf("item %d (%s): %w", i+1, it.Kind, err))
			continue
		}
		have[it.Kind] = true
		items = append(items, item)
	}
	return items, refused
}

func (p *prepared) item(it answerItem) (item distill.Item, err error) {
	item.Kind = it.Kind
	var cited strings.Builder
	for _, q := range it.Quotes {
		quote, err := p.quote(q)
		if err != nil {
			return item, err
		}
		if !slices.Contains(item.Quotes, quote) {
			item.Quotes = append(item.Quotes, quote)
		}
		cited.WriteString(p.turns[quote.Turn].text + "\n")
	}
	if err := p.speakers(it.Kind, &item); err != nil {
		return item, err
	}
	text := strings.TrimSpace(it.Text)
	if err := supported(text, cited.String(), p.everything()); err != nil {
		return item, err
	}
	revealed, known := p.mask.reveal(text)
	if !known {
		return item, errors.New("it has a placeholder that stands for nothing")
	}
	item.Text = record.CleanText(revealed)
	return item, nil
}

// quote finds a quote in its message.
func (p *prepared) quote(q answerQuote) (distill.Quote, error) {
	i := q.Message - 1
	if i < 0 || i >= len(p.turns) || p.turns[i].text == "" {
		return distill.Quote{}, fmt.Errorf("there is no message %d", q.Message)
	}
	at, end := find(p.turns[i].text, strings.TrimSpace(q.Quote))
	if at < 0 {
		return distill.Quote{}, fmt.Errorf("message %d does not have the quote", q.Message)
	}
	from, to, ok := p.turns[i].original(at, end)
	if !ok || !slices.ContainsFunc(p.c.Turns[i].Parts, func(s distill.Span) bool { return from >= s.Start && to <= s.End }) {
		return distill.Quote{}, fmt.Errorf("message %d does not have the quote in one piece", q.Message)
	}
	return distill.Quote{Turn: i, Start: from, End: to}, nil
}

// find returns where a quote stands in a text, whatever white space is between its words; -1 if it does not.
func find(text, quote string) (at, end int) {
	if at = strings.Index(text, quote); at >= 0 {
		return at, at + len(quote)
	}
	words := strings.Fields(quote)
	for i, w := range words {
		words[i] = regexp.QuoteMeta(w)
	}
	if len(words) == 0 {
		return -1, -1
	}
	span := regexp.MustCompile(strings.Join(words, `\s+`)).FindStringIndex(text)
	if span == nil {
		return -1, -1
	}
	return span[0], span[1]
}

// speakers holds each kind to who has to have said it. That a problem is solved has to be seen from more than a claim: the conversation is closed or rated
// well, or the customer is quoted behind the agent. So nobody solves a case, or makes a promise in an agent's name, by writing so into a message.
func (p *prepared) speakers(kind string, item *distill.Item) error {
	user, agent, after := false, -1, false
	for _, q := range item.Quotes {
		if p.c.Turns[q.Turn].Speaker == speakerUser {
			user = true
		} else if agent < 0 || q.Turn < agent {
			agent = q.Turn
		}
	}
	for _, q := range item.Quotes {
		after = after || agent >= 0 && q.Turn > agent && p.c.Turns[q.Turn].Speaker == speakerUser
	}
	switch kind {
	case record.KnowledgeProblem, record.KnowledgeFact, record.KnowledgeOpenIssue:
		if !user {
			return errors.New("it does not quote the customer")
		}
	case record.KnowledgeQA:
		if !user || agent < 0 {
			return errors.New("it does not quote both question and answer")
		}
	case record.KnowledgeResolution:
		if agent < 0 {
			return errors.New("it does not quote an agent")
		}
		if p.c.Rating == 1 || p.c.Rating == 2 {
			return errors.New("the customer rated the conversation low")
		}
		if p.c.State == "closed" {
			item.Evidence = append(item.Evidence, "closed")
		}
		if p.c.Rating >= 4 {
			item.Evidence = append(item.Evidence, "rated")
		}
		if after {
			item.Evidence = append(item.Evidence, "confirmed")
		}
		if len(item.Evidence) == 0 {
			return errors.New("nothing shows that it was solved")
		}
	}
	return nil
}

// everything is all that was sent of the conversation.
func (p *prepared) everything() string {
	var b strings.Builder
	b.WriteString(p.subject)
	for i := range p.turns {
		b.WriteString("\n" + p.turns[i].text)
	}
	return b.String()
}

var (
	precise = regexp.MustCompile(`⟦[^⟦⟧]*⟧|[\p{L}\p{N}$€£#%+]*\p{N}(?:[\p{L}\p{N}.,:/\-_%€$£]*[\p{L}\p{N}%€$£])?|\b[A-Z]{2,}(?:[_-][A-Z]+)+\b`)
	months  = regexp.MustCompile(`(?i)\b(january|february|march|april|june|july|august|september|october|november|december|monday|tuesday|wednesday|thursday|friday|saturday|sunday|tomorrow|yesterday)\b`)
)

// supported says what of a text the cited messages do not say: a number, date, code, address or placeholder that is not in them; a name that nobody in the
// conversation uses; or mostly other words than theirs.
func supported(text, cited, everything string) error {
	low := strings.ToLower(cited)
	exactly := append(precise.FindAllString(text, -1), months.FindAllString(text, -1)...)
	for _, exact := range append(exactly, addresses(placeholders.ReplaceAllString(text, " "))...) {
		if !standsIn(low, strings.ToLower(exact)) {
			return errors.New("it has a number, date, code or address that the cited messages do not have")
		}
	}
	stems := map[uint64]bool{}
	for _, s := range distill.Stems(everything) {
		stems[s] = true
	}
	if !namesKnown(text, stems) {
		return errors.New("it has a name that nobody in the conversation uses")
	}
	theirs := map[uint64]bool{}
	for _, s := range distill.Stems(cited) {
		theirs[s] = true
	}
	all, same := 0, 0
	for _, s := range distill.Stems(placeholders.ReplaceAllString(text, " ")) {
		all++
		same += b2i(theirs[s] || common[s])
	}
	if all > 0 && 2*same < all {
		return errors.New("it mostly says what the cited messages do not")
	}
	return nil
}

// standsIn reports whether a word stands in a text by itself, not within another one.
func standsIn(text, word string) bool {
	for at := 0; ; {
		i := strings.Index(text[at:], word)
		if i < 0 {
			return false
		}
		i += at
		end := i + len(word)
		if strings.HasPrefix(word, opening) || !wordAt(text, i, -1) && !wordAt(text, end, 1) && !more(text, i, end) {
			return true
		}
		at = i + 1
	}
}

// more reports whether a number goes on at either end: "1" is not in "1.5" nor in "2-1".
func more(text string, start, end int) bool {
	joins := func(i, step int) bool {
		if i < 0 || i >= len(text) || strings.IndexByte(".,:/-", text[i]) < 0 {
			return false
		}
		i += step
		return i >= 0 && i < len(text) && text[i] >= '0' && text[i] <= '9'
	}
	return joins(start-1, -1) || joins(end, 1)
}

// reporting are words with which conversations are told, besides their own.
var reporting = `customer customers user users client agent agents support team staff company organisation organization issue issues problem problems question request requests requested
	asked asks asking wanted wants reported reports reporting said says told stated explained explains informed suggested suggests recommended recommends advised advises instructed offered offers
	provided provides confirmed confirms thanked replied answered contacted wrote unable cannot could after before because since while however therefore when once also later then still already
	please yes no instead another other new next first last both each according following only now unfortunately
	account unresolved resolved solved unsolved open closed waiting complained complains complaining described mentioned needs needed tried tries trying fixed using used receive received
	q a kunde kundin agent problem anfrage frage antwort client cliente problème problema klant`

var common = func() map[uint64]bool {
	m := map[uint64]bool{}
	for _, s := range distill.Stems(reporting) {
		m[s] = true
	}
	return m
}()

// germanWords tell that capitals do not mean names.
var germanWords = regexp.MustCompile(`(?i)\b(der|die|das|und|nicht|ist|ein|eine|wurde|mit|für|den|dem)\b`)

// namesKnown reports whether each word with a capital is one of the conversation's, or one with which conversations are told. In German, where nouns have
// capitals too, two of them in a row are taken for a name.
func namesKnown(text string, known map[uint64]bool) bool {
	german := len(germanWords.FindAllString(text, 3)) >= 2
	strange := false // the word before
	for _, word := range strings.FieldsFunc(placeholders.ReplaceAllString(text, " . "), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\'' && r != '’' && r != '.'
	}) {
		bare := strings.Trim(word, ".'’")
		r, _ := utf8.DecodeRuneInString(bare)
		unknown := false
		if unicode.IsUpper(r) && utf8.RuneCountInString(bare) > 1 {
			stems := distill.Stems(bare)
			unknown = slices.ContainsFunc(stems, func(s uint64) bool { return !known[s] && !common[s] })
		}
		if unknown && (!german || strange) {
			return false
		}
		strange = unknown && !strings.HasSuffix(word, ".")
	}
	return true
}
