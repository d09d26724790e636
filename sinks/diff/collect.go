package diff

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Collector is where a left side that arrives through pipelines is gathered: what would be loaded is fingerprinted instead. Its sinks may
// be used by several pipelines at once. Close removes its files; a Compare with its Side must have ended.
type Collector struct {
	mu     sync.Mutex
	stores map[string]*store
	batch  map[string][]record.Fingerprint
}

// NewCollector makes a Collector. Of the options Org, Memory and TempDir count, and have to be those of the Compare.
func NewCollector(o Options) *Collector {
	o = o.withDefaults()
	c := &Collector{stores: make(map[string]*store), batch: make(map[string][]record.Fingerprint)}
	for _, entity := range Entities {
		// Streams come one or two at a time, so each may have half of what one side has.
		c.stores[entity] = newStore(salt(o.Org), o.Memory/4, o.TempDir)
	}
	return c
}

// Sink returns the sink for the pipeline of one stream. It counts nothing twice if a batch is committed again. It keeps nothing of a batch. A
// run that goes on at a cursor needs the Collector that has what came before.
func (c *Collector) Sink(stream string) pipeline.Sink[record.Change] {
	return &collectorSink{c: c, stream: stream}
}

type collectorSink struct {
	c      *Collector
	stream string
	next   uint64
}

func (s *collectorSink) Name() string { return "compare" }

// Commit adds the fingerprints of a batch.
func (s *collectorSink) Commit(_ context.Context, b pipeline.Batch[record.Change]) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if b.Seq < s.next {
		return nil
	}
	if err := s.c.add(b); err != nil {
		return fmt.Errorf("keep fingerprints of %s: %w", s.stream, err)
	}
	s.next = b.Seq + 1
	return nil
}

func (c *Collector) add(b pipeline.Batch[record.Change]) error {
	for i := range b.Items {
		change := &b.Items[i]
		table := change.Kind.Table()
		c.batch[table] = append(c.batch[table], change.Fingerprint())
		if f, ok := change.KnowledgeFingerprint(); ok {
			c.batch["knowledge"] = append(c.batch["knowledge"], f)
		}
	}
	for _, r := range b.Rejects {
		kind := record.Kind(r.Kind)
		if !slices.Contains(record.Kinds[:], kind) {
			continue
		}
		id := r.ID
		if id == "" {
			sum := sha256.Sum256(r.Payload)
			id = namelessPrefix + hex.EncodeToString(sum[:8])
		}
		c.batch[kind.Table()] = append(c.batch[kind.Table()], record.Fingerprint{SourceID: id, Count: 1, State: record.FingerprintRejected})
	}
	for entity, batch := range c.batch {
		if err := c.stores[entity].add(batch); err != nil {
			return err
		}
		c.batch[entity] = batch[:0]
	}
	return nil
}

// namelessPrefix begins the name of an object that has no id which can be read.
const namelessPrefix = "without an id: "

// Close removes what was gathered.
func (c *Collector) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	for _, s := range c.stores {
		err = errors.Join(err, s.close())
	}
	return err
}

// Fetcher reads objects again; see Side.Fetch.
type Fetcher interface {
	Fetch(ctx context.Context, entity string, ids []string) ([]Object, error)
}

// Side is what was gathered, as a side that moves. It can be compared once.
func (c *Collector) Side(name string, f Fetcher) Side {
	return &collected{name: name, c: c, Fetcher: f}
}

type collected struct {
	Fetcher
	name string
	c    *Collector
}

func (s *collected) Name() string { return s.name }
func (s *collected) Moves() bool  { return true }

// hold lends the store of an entity to a Compare.
func (s *collected) hold(entity string) *store { return s.c.stores[entity] }

// Fingerprints yields what was gathered, for who is no Compare.
func (s *collected) Fingerprints(_ context.Context, entity string, _ Level) iter.Seq2[[]record.Fingerprint, error] {
	return func(yield func([]record.Fingerprint, error) bool) {
		for part := range partitions {
			err := s.hold(entity).each(part, func(r arrow.Record) error {
				batch, err := fingerprints(r)
				if err == nil && !yield(batch, nil) {
					err = errEnough
				}
				return err
			})
			if errors.Is(err, errEnough) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

var errEnough = errors.New("enough")

// fingerprints reads a record batch.
func fingerprints(r arrow.Record) ([]record.Fingerprint, error) {
	rows, err := readerOf(r)
	if err != nil {
		return nil, err
	}
	list := make([]record.Fingerprint, len(rows.state))
	for i := range list {
		list[i] = record.Fingerprint{SourceID: string(rows.ids.Value(i)), UpdatedAt: rows.updated[i], FetchedAt: rows.fetched[i],
			Hash: record.Digest(rows.hash.Value(i)), Count: rows.count[i], State: record.FingerprintState(rows.state[i])}
	}
	return list, nil
}
