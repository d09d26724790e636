package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"haloingest/pipeline/record"
)

// Inbox makes deliveries durable. When Accept returns, those that it was given are there, together with those that were there before under
// the same org and id, of which stored counts none; after an error, some may be there or none. It is called by several goroutines at once.
type Inbox interface {
	Accept(ctx context.Context, list []record.Delivery) (stored int, err error)
}

// batcher joins what several requests bring into one transaction: a commit waits for the disk, and one wait does for all. While it lasts, the
// next batch fills up, so nothing is ever waited for and a lone request is as quick as without.
type batcher struct {
	inbox    Inbox
	within   time.Duration
	stored   func(orgs []record.UUID)
	requests chan *pending
	stop     chan struct{}
	writers  sync.WaitGroup

	mu     sync.RWMutex // held by who hands over, so that nothing is handed over after the writers' last look
	closed bool
}

type pending struct {
	delivery record.Delivery
	done     chan error
}

// Limits of one transaction.
const (
	maxBatch      = 256
	maxBatchBytes = 4 << 20
)

func newBatcher(inbox Inbox, writers int, within time.Duration, stored func([]record.UUID)) *batcher {
	b := &batcher{inbox: inbox, within: within, stored: stored, requests: make(chan *pending, maxBatch), stop: make(chan struct{})}
	for range writers {
		b.writers.Go(b.write)
	}
	return b
}

// errClosed says that the handler was closed while a request was on its way.
var errClosed = errors.New("the receiver is closing")

// accept returns when the delivery is durable, or cannot be made so.
func (b *batcher) accept(ctx context.Context, d record.Delivery) error {
	p := &pending{delivery: d, done: make(chan error, 1)}
	if err := b.hand(ctx, p); err != nil {
		return err
	}
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx) // it may become durable all the same, which does no harm
	}
}

func (b *batcher) hand(ctx context.Context, p *pending) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return errClosed
	}
	select {
	case b.requests <- p:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close ends the writers once what was handed to them is durable. It may be called again.
func (b *batcher) close() {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	b.mu.Unlock()
	if !closed {
		close(b.stop)
	}
	b.writers.Wait()
}

func (b *batcher) write() {
	var batch []*pending
	for {
		batch = batch[:0]
		select {
		case p := <-b.requests:
			batch = append(batch, p)
		case <-b.stop:
			select {
			case p := <-b.requests:
				batch = append(batch, p)
			default:
				return
			}
		}
		for size := len(batch[0].delivery.Body); len(batch) < maxBatch && size < maxBatchBytes; {
			select {
			case p := <-b.requests:
				batch, size = append(batch, p), size+len(p.delivery.Body)
				continue
			default:
			}
			break
		}
		b.commit(batch)
	}
}

// commit makes a batch durable. A batch that fails is tried once more, since a connection that the server has dropped fails once: the ids
// keep a delivery whose COMMIT went through unheard from being there twice.
func (b *batcher) commit(batch []*pending) {
	list := make([]record.Delivery, len(batch))
	for i, p := range batch {
		list[i] = p.delivery
	}
	// Not the requests' contexts: one that leaves must not take the others with it.
	ctx, cancel := context.WithTimeout(context.Background(), b.within)
	defer cancel()
	err := b.try(ctx, list)
	if err != nil && ctx.Err() == nil {
		err = b.try(ctx, list)
	}
	for _, p := range batch {
		p.done <- err
	}
	if err == nil && b.stored != nil {
		b.stored(orgsOf(list))
	}
}

func (b *batcher) try(ctx context.Context, list []record.Delivery) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("store %d deliveries: panic: %v", len(list), v) // each request has to be answered, whatever happens
		}
	}()
	_, err = b.inbox.Accept(ctx, list)
	return err
}

func orgsOf(list []record.Delivery) []record.UUID {
	var orgs []record.UUID
	seen := make(map[record.UUID]bool)
	for _, d := range list {
		if !seen[d.Org] {
			seen[d.Org] = true
			orgs = append(orgs, d.Org)
		}
	}
	return orgs
}
