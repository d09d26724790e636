package site

import (
	"context"
	"net/http"
	"strings"
	"time"

	"haloingest/cmd/haloingest/internal/cutover"
	"haloingest/sinks/diff/report/page"
)

// checklistView is the checklist of the migration.
type checklistView struct {
	head
	Tone, Head, Rest string
	At               when
	Items            []checkLine
	Summary          string
	Diff             *diffView
	MaxSync, MaxDiff string
}

type checkLine struct {
	Class, Mark, Status, Title, Evidence, Age string
	Details                                   []string
	Advice                                    string
	Next                                      []string
	Settings                                  bool // they are where it can be done as well
}

// checklistWithin bounds the look at everything, which reads the inventory of attachments.
const checklistWithin = 50 * time.Second

// detailsShown of each item are on the page.
const detailsShown = 8

func (s *Site) checklist(w http.ResponseWriter, r *http.Request) error {
	h, err := s.readHead(r, "/checklist")
	if err != nil {
		return err
	}
	v := checklistView{head: h}
	if !h.Known {
		return s.show(w, r, "checklist", http.StatusOK, h.view("Checklist", v))
	}
	ctx, cancel := context.WithTimeout(r.Context(), checklistWithin)
	defer cancel()
	e, err := cutover.Look(ctx, cutover.Store{DB: s.o.DB, Connections: s.o.Connections}, h.Org, nil, nil)
	if err != nil {
		return err
	}
	c := cutover.Judge(e, cutover.Options{Program: s.o.Program})
	v.Tone = "bad"
	if c.Safe {
		v.Tone = "good"
	}
	head, rest, _ := strings.Cut(c.Sentence, ". ")
	v.Head, v.Rest = page.Visible(head), page.Visible(rest)
	v.At, v.MaxSync, v.MaxDiff = since(c.At, c.At), c.MaxSyncAge, c.MaxDiffAge
	counts := map[cutover.Status]int{}
	for _, item := range c.Items {
		counts[item.Status]++
		x := checkLine{Class: strings.ToLower(string(item.Status)), Status: string(item.Status), Title: item.Title, Evidence: page.Visible(item.Evidence), Advice: page.Visible(item.Advice)}
		if item.Key == cutover.Webhooks && !h.Conn.HasWebhookSecret && len(item.Next) > 0 {
			x.Settings, x.Advice = true, "To have changes at once, set the secret of the app that sends them in the settings, or on the command line:"
		}
		x.Mark = map[cutover.Status]string{cutover.Pass: "good", cutover.Fail: "bad", cutover.Warn: "open", cutover.Unknown: "none"}[item.Status]
		if !item.ProofAt.IsZero() && item.Age > 0 {
			x.Age = "Proof " + page.Span(item.Age) + " old."
		}
		for i, d := range item.Details {
			if i == detailsShown {
				x.Details = append(x.Details, "and "+page.Count(int64(len(item.Details)-i))+" more")
				break
			}
			x.Details = append(x.Details, page.Visible(d))
		}
		for _, line := range item.Next {
			x.Next = append(x.Next, page.Visible(line))
		}
		v.Items = append(v.Items, x)
	}
	var words []string
	for _, x := range []cutover.Status{cutover.Fail, cutover.Unknown, cutover.Warn, cutover.Pass} {
		if counts[x] > 0 {
			words = append(words, page.Count(int64(counts[x]))+" "+string(x))
		}
	}
	v.Summary = strings.Join(words, ", ")
	if len(e.Diffs) > 0 {
		v.Diff = diffOf(e.Diffs[0], c.At)
	}
	return s.show(w, r, "checklist", http.StatusOK, h.view("Checklist", v))
}
