package compare

import (
	"context"
	"strings"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sources/intercom"
)

// complete counts what was listed in a second way and reads what is missing by id.
func (l *Live) complete(ctx context.Context, t *tally, yield func([]record.Fingerprint, error) bool) (more bool, err error) {
	if t.kind == record.KindCompany {
		l.check(diff.Check{
			Name: "companies", Want: int64(t.listed()), Got: int64(t.listed()),
			Detail: "Intercom tells no number of companies; the scroll is their only read-only list, and it ended as it should",
		})
		return true, nil
	}
	check, missed, err := l.recount(ctx, t)
	if err != nil {
		return true, err
	}
	for len(missed) > 0 {
		n := min(len(missed), fetchPage)
		changes, rejects, err := l.fetch(ctx, t.kind, missed[:n])
		if err != nil {
			return true, err
		}
		list := l.takeRejects(nil, t.kind, rejects)
		for i := range changes {
			check.Got++
			if changes[i].Gone != nil {
				continue
			}
			if list, err = l.take(list, &changes[i]); err != nil {
				return true, err
			}
		}
		check.Got += int64(len(rejects))
		missed = missed[n:]
		if len(list) > 0 && !yield(list, nil) {
			return false, nil
		}
	}
	l.check(check)
	return true, nil
}

// fetchPage is how many objects are read by id at a time.
const fetchPage = 150

// fetch reads objects by id and takes them through the stages.
func (l *Live) fetch(ctx context.Context, kind record.Kind, ids []string) ([]record.Change, []pipeline.Reject, error) {
	if err := l.prepare(ctx); err != nil {
		return nil, nil, err
	}
	var objects []record.Object
	var rejects []pipeline.Reject
	source := intercom.NewConfirm(l.o.Client, kind, each(ids))
	for page, err := range source.Pages(ctx, nil) {
		if err != nil {
			return nil, nil, err
		}
		objects, rejects = append(objects, page.Items...), append(rejects, page.Rejects...)
	}
	changes, bad, err := l.stages.changes(ctx, objects)
	return changes, append(rejects, bad...), err
}

func each(ids []string) func(func(string, error) bool) {
	return func(yield func(string, error) bool) {
		for _, id := range ids {
			if !yield(id, nil) {
				return
			}
		}
	}
}

// ruleMerged names why a contact is no object of its own any more.
const ruleMerged = "merged into another contact"

// Fetch reads objects by id, one request each and what Details adds. One that is deleted is left out.
func (l *Live) Fetch(ctx context.Context, entity string, ids []string) ([]diff.Object, error) {
	kind, err := kindOf(entity)
	if err != nil {
		return nil, err
	}
	ask := make([]string, 0, len(ids))
	var objects []diff.Object
	for _, id := range ids {
		if strings.Contains(id, " ") { // the name that a reject without an id was given
			objects = append(objects, diff.Object{SourceID: id, State: record.FingerprintRejected, Note: l.reason(kind, id)})
			continue
		}
		ask = append(ask, id)
	}
	changes, rejects, err := l.fetch(ctx, kind, ask)
	if err != nil {
		return nil, err
	}
	l.takeRejects(nil, kind, rejects)
	for _, r := range rejects {
		objects = append(objects, diff.Object{SourceID: r.ID, State: record.FingerprintRejected, Version: record.Version{FetchedAt: time.Now().UTC()}, Note: reasonOf(r)})
	}
	for _, c := range changes {
		o := diff.Object{SourceID: c.SourceID, Change: c, Version: c.Version}
		o.Change.Object = nil
		switch {
		case c.Gone != nil && c.Gone.Why != record.GoneMerged:
			continue
		case c.Gone != nil:
			o.State, o.Note = record.FingerprintExcluded, ruleMerged
		case entity == knowledge:
			if len(c.Knowledge) == 0 {
				continue
			}
			o.Change.Transcript = nil
		default:
			o.Change.Knowledge = nil
		}
		objects = append(objects, o)
	}
	return objects, nil
}

func (l *Live) reason(kind record.Kind, id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rejects[kind][id]
}
