package compare

import (
	"context"
	"slices"
	"strings"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sources/intercom"
)

// complete counts what was listed in a second way and reads what is missing by id.
func (l *Live) complete(ctx context.Context, t *tally, yield func([]record.Fingerprint, error) bool) (n sum, more bool, err error) {
	if t.kind == record.KindCompany {
		return n, true, nil // Intercom tells no number of them; see namedCompanies
	}
	check, missed, err := l.recount(ctx, t)
	if err != nil {
		return n, true, err
	}
	if len(missed) > 0 {
		p := l.follow(t.kind, int64(len(missed)))
		source := intercom.NewConfirm(l.o.Client, t.kind, each(missed))
		if n, more, err = l.run(ctx, "again-"+t.kind.Stream(), t.kind, source, nil, p, yield); err != nil || !more {
			return n, more, err
		}
		p.finish()
		check.Got += n.objects
	}
	l.check(check)
	return n, true, nil
}

// namedCompanies counts companies in the only second way that there is: those that contacts name have to be among those
// that the scroll had. It is their only read-only list, and tells no total.
func (l *Live) namedCompanies(ctx context.Context) error {
	t := l.tallies[record.KindCompany]
	if t == nil {
		return nil
	}
	var lacking []string
	for id := range l.named {
		if !t.has(id) {
			lacking = append(lacking, id)
		}
	}
	slices.Sort(lacking)
	check := diff.Check{Name: "companies that contacts name", Want: int64(len(l.named) - len(lacking))}
	check.Got = check.Want
	for ids := range slices.Chunk(lacking, diff.FetchBatch) {
		changes, rejects, err := l.fetch(ctx, record.KindCompany, ids)
		if err != nil {
			return err
		}
		check.Want += int64(len(rejects))
		for _, c := range changes {
			if c.Company != nil && c.Company.SourceCreatedAt.Before(t.began) {
				check.Want++ // it is there, and was when the scroll began
			}
		}
	}
	l.check(check)
	return nil
}

// fetch reads objects by id and takes them through the stages.
func (l *Live) fetch(ctx context.Context, kind record.Kind, ids []string) (changes []record.Change, rejects []pipeline.Reject, err error) {
	if err := l.prepare(ctx); err != nil || len(ids) == 0 {
		return nil, nil, err
	}
	w, err := l.begin(ctx, nil, "", intercom.NewConfirm(l.o.Client, kind, each(ids)), nil)
	if err != nil {
		return nil, nil, err
	}
	for b := range w.batches {
		changes, rejects = append(changes, b.Items...), append(rejects, b.Rejects...)
	}
	return changes, rejects, w.end(false)
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
		if strings.HasPrefix(id, diff.StrayPrefix) {
			continue // no id of Intercom's
		}
		if strings.Contains(id, " ") { // the name that a reject without an id was given
			objects = append(objects, refused(entity, id, record.FingerprintRejected, l.reason(kind, id)))
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
		objects = append(objects, refused(entity, r.ID, stateOf(r), reasonOf(r)))
	}
	for _, c := range changes {
		c.Version.FetchedAt = time0 // see take
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

// refused is an object that is there and could not be read or mapped. Of its knowledge nothing is known.
func refused(entity, id string, state record.FingerprintState, why string) diff.Object {
	o := diff.Object{SourceID: id, State: state, Note: why, Fingerprint: record.Fingerprint{SourceID: id, State: state}}
	if entity != knowledge {
		o.Fingerprint.Count = 1
	}
	return o
}

// stateOf says whether an object was read and could not be mapped, or was not read: what Details and Confirm reject is what
// Intercom did not give. A row of a list has a payload, and was read.
func stateOf(r pipeline.Reject) record.FingerprintState {
	if r.Stage == intercom.StageDetails || r.Stage == intercom.StageLists && r.Payload == nil {
		return record.FingerprintUnread
	}
	return record.FingerprintRejected
}

func (l *Live) reason(kind record.Kind, id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rejects[kind][id]
}
