package ingest

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"slices"
	"sync"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sources/intercom"
)

// round is the work of some deliveries: the source that reads each object that they name once, and the tap that tells the sink which
// deliveries are done with the batch that holds their last object.
type round struct {
	client *intercom.Client
	limit  int // requests at once
	org    record.UUID
	keys   []record.ObjectKey // in the order in which they are read
	after  map[record.ObjectKey][]postgres.OpenDelivery

	failed, delayed map[string][]int64 // deliveries to be kept, by reason
	objects         int64              // read

	mu      sync.Mutex // the source is ahead of the tap
	settled map[record.ObjectKey][]int64
	done    int64
}

// newRound collapses deliveries to their objects. A delivery about several objects is done with the last of them.
func newRound(r *Runner, list []postgres.OpenDelivery) *round {
	s := &round{
		client: r.Client, limit: max(r.Concurrency, 1), org: r.Connection.Org, after: make(map[record.ObjectKey][]postgres.OpenDelivery),
		failed: make(map[string][]int64), delayed: make(map[string][]int64), settled: make(map[record.ObjectKey][]int64),
	}
	for _, d := range list {
		slices.SortFunc(d.Objects, byKind)
		for i, key := range d.Objects {
			if _, known := s.after[key]; !known {
				s.keys = append(s.keys, key)
				s.after[key] = nil
			}
			if i == len(d.Objects)-1 {
				s.after[key] = append(s.after[key], d)
			}
		}
		if len(d.Objects) == 0 { // made by another program
			s.failed["it names no object"] = append(s.failed["it names no object"], d.N)
		}
	}
	slices.SortFunc(s.keys, byKind)
	return s
}

// byKind puts what is referred to first, so that links are found at once.
func byKind(a, b record.ObjectKey) int {
	return cmp.Or(cmp.Compare(slices.Index(record.Kinds[:], a.Kind), slices.Index(record.Kinds[:], b.Kind)), cmp.Compare(a.ID, b.ID))
}

func (s *round) Name() string { return inboxStream }

// roundPage is how many objects make a page.
const roundPage = 100

// Pages reads the objects; the cursor stays nil, since what is done is not in the inbox any more.
func (s *round) Pages(ctx context.Context, _ pipeline.Cursor) iter.Seq2[pipeline.Page[record.Object], error] {
	return func(yield func(pipeline.Page[record.Object], error) bool) {
		bad := make(map[record.ObjectKey]error) // that could not be read
		for keys := range slices.Chunk(s.keys, roundPage) {
			page, err := s.read(ctx, keys, bad)
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

// Reasons that stand for themselves.
const stillThere = "it tells of a deletion, and Intercom still shows the object"

// patienceWithDeletions is how many attempts a delivery of a deletion has before the object is taken for being there: Intercom deletes companies
// some time after it says so, and other clients may have made it anew.
const patienceWithDeletions = 3

func (s *round) read(ctx context.Context, keys []record.ObjectKey, bad map[record.ObjectKey]error) (page pipeline.Page[record.Object], err error) {
	found := make([][]record.Object, len(keys))
	errs := make([]error, len(keys))
	err = pipeline.ForEach(ctx, len(keys), s.limit, func(ctx context.Context, i int) error {
		var err error
		found[i], err = s.fetch(ctx, keys[i])
		if class, ok := intercom.ClassOf(err); ok && (intercom.IsOwnFault(err) || class == intercom.ClassScope) {
			errs[i] = err
			return nil
		}
		return err
	})
	if err != nil {
		return page, err
	}
	for i, key := range keys {
		if errs[i] != nil {
			bad[key] = errs[i]
		} else {
			s.objects++
			page.Items = append(page.Items, found[i]...)
			page.Counts.Add("webhook/"+key.Kind.Stream(), 1)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, key := range keys {
		there := errs[i] == nil && found[i][0].Gone == ""
		for _, d := range s.after[key] {
			switch reason, class := s.obstacle(d, bad); {
			case reason != "" && class == intercom.ClassScope:
				s.delayed[reason] = append(s.delayed[reason], d.N)
			case reason != "":
				s.failed[reason] = append(s.failed[reason], d.N)
			case d.Gone && there && d.Attempts < patienceWithDeletions:
				s.failed[stillThere] = append(s.failed[stillThere], d.N)
			default:
				s.settled[key] = append(s.settled[key], d.N)
				s.done++
			}
		}
	}
	return page, nil
}

// obstacle is what keeps a delivery from being done: the first of its objects that could not be read.
func (s *round) obstacle(d postgres.OpenDelivery, bad map[record.ObjectKey]error) (reason string, class intercom.Class) {
	for _, key := range d.Objects {
		if err := bad[key]; err != nil {
			class, _ = intercom.ClassOf(err)
			return describeFailure(key, err), class
		}
	}
	return "", 0
}

// fetch reads an object as it is now, first, and what goes with it: the leads that a contact has taken up, and the other half of a ticket that is also
// a conversation, of which Intercom tells by topics of one of the two only.
func (s *round) fetch(ctx context.Context, key record.ObjectKey) ([]record.Object, error) {
	o, err := s.client.Fetch(ctx, key.Kind, key.ID)
	if err != nil {
		return nil, err
	}
	list := append([]record.Object{o}, intercom.MergedLeads(o)...)
	twin := twinOf(o)
	if _, own := s.after[twin]; own || twin.ID == "" {
		return list, nil
	}
	t, err := s.client.Fetch(ctx, twin.Kind, twin.ID)
	class, _ := intercom.ClassOf(err)
	switch {
	case err != nil && (intercom.IsOwnFault(err) || class == intercom.ClassScope):
		return list, nil // a sync finds it
	case err != nil:
		return nil, err
	case t.Gone != "" && o.Gone == "":
		// That a ticket has a conversation of the same id is not certain (fact sheet, section 6).
		return list, nil
	}
	return append(list, t), nil
}

// twinOf names the ticket that a conversation is as well, or the other way round. Of what is gone nothing tells whether there was one.
func twinOf(o record.Object) record.ObjectKey {
	switch o.Kind {
	case record.KindConversation:
		var c struct {
			Ticket struct {
				ID json.Number `json:"id"`
			} `json:"ticket"`
		}
		if o.Gone != "" {
			return record.ObjectKey{Kind: record.KindTicket, ID: o.ID}
		}
		if json.Unmarshal(o.Body, &c) == nil && c.Ticket.ID != "" {
			return record.ObjectKey{Kind: record.KindTicket, ID: c.Ticket.ID.String()}
		}
	case record.KindTicket:
		var t struct {
			Category string `json:"category"`
		}
		if o.Gone != "" || json.Unmarshal(o.Body, &t) == nil && t.Category == "Customer" {
			return record.ObjectKey{Kind: record.KindConversation, ID: o.ID}
		}
	}
	return record.ObjectKey{}
}

// Write names the deliveries that are done with a batch.
func (s *round) Write(_ context.Context, b pipeline.Batch[record.Object]) ([]pipeline.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var files []pipeline.File
	for i := range b.Items {
		key := record.ObjectKey{Kind: b.Items[i].Kind, ID: b.Items[i].ID}
		if ids := s.settled[key]; len(ids) > 0 {
			files = append(files, pipeline.File{Meta: record.Delivered{Key: key, Deliveries: ids}})
			delete(s.settled, key)
		}
	}
	return files, nil
}
