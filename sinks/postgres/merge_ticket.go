package postgres

import (
	"context"

	"haloingest/pipeline/record"
)

// Tickets are loaded as conversations are, without knowledge and with a link to the transcript that they also are.

func (l *loader) loadTickets(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	found, err := l.probe(ctx, probeTickets, items)
	if err != nil {
		return err
	}
	work := make([]pending, 0, len(items))
	for i, it := range items {
		f := &found[i]
		switch {
		case f.found && f.hash == it.head().Hash && !l.rewrite:
			it.outcome = equal
			continue
		case f.found && l.outdated(it.version, f.version):
			it.outcome = stale
			continue
		}
		work = append(work, pending{it: it, found: f.found})
	}
	if len(work) == 0 {
		return nil
	}
	if err := l.markGone(ctx, record.KindTicket, work); err != nil {
		return err
	}
	if err := l.linkToTranscripts(ctx, work); err != nil {
		return err
	}
	encode := func(buf *copyBuffer, p *pending) {
		encodeTicket(buf, p.it.change.Ticket, p.link, l.stamp(p.it, p.gone.At))
	}
	t := l.targets.tickets
	if err := l.insertNew(ctx, t, work, encode); err != nil {
		return err
	}
	if err := l.mergeChanged(ctx, t, work, encode); err != nil {
		return err
	}
	var changed []record.UUID
	var list []waits
	for i := range work {
		p := &work[i]
		switch p.it.outcome {
		case updated:
			changed = append(changed, p.it.rowID())
			fallthrough
		case inserted:
			list = append(list, p.wait...)
		}
	}
	return l.pend(ctx, "tickets", changed, list)
}

// linkToTranscripts looks up what the tickets refer to.
func (l *loader) linkToTranscripts(ctx context.Context, work []pending) error {
	err := l.lookUp(ctx, work, func(it *item) (string, string) { return it.change.Ticket.ContactID, it.change.Ticket.CompanyID })
	if err != nil {
		return err
	}
	var ids []record.UUID
	for i := range work {
		if id := work[i].it.change.Ticket.ConversationID; id != "" {
			ids = append(ids, record.RowID(l.org, record.KindConversation, id))
		}
	}
	there, err := l.existing(ctx, ids)
	if err != nil {
		return err
	}
	for i := range work {
		p := &work[i]
		conversation := p.it.change.Ticket.ConversationID
		if conversation == "" {
			continue
		}
		if id := record.RowID(l.org, record.KindConversation, conversation); there[id] {
			p.link.transcript = id
			continue
		}
		p.wait = append(p.wait, waits{kind: record.KindConversation, id: conversation, table: "tickets", row: p.it.rowID()})
	}
	return nil
}
