package metric

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Queries is for postgres.Options.Tracer: it makes spans of transactions, and below them of statements and COPYs, as far as they are made under
// another span. It is nil, as an interface, for a nil *Tracer.
func (t *Tracer) Queries() pgx.QueryTracer {
	if t == nil {
		return nil
	}
	return &queries{t}
}

// queries has pgx's hooks. Those of a connection are called by the goroutine that uses it.
type queries struct{ t *Tracer }

type queryKey struct{}

// inTransaction is the key of a connection's open transaction in its CustomData.
const inTransaction = "haloingest.transaction"

var (
	_ pgx.QueryTracer    = (*queries)(nil)
	_ pgx.CopyFromTracer = (*queries)(nil)
	_ pgx.BatchTracer    = (*queries)(nil)
)

func open(conn *pgx.Conn) (trace.Span, bool) {
	s, ok := conn.PgConn().CustomData()[inTransaction].(trace.Span)
	return s, ok
}

// verb is the first word of a statement, in upper case.
func verb(sql string) string {
	sql = strings.TrimSpace(sql)
	if i := strings.IndexFunc(sql, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }); i >= 0 {
		sql = sql[:i]
	}
	return strings.ToUpper(clip(sql, 20))
}

// start begins the span of what a connection is asked for, if there is to be one. The context says so to finish.
func (q *queries) start(ctx context.Context, conn *pgx.Conn, name, text string) context.Context {
	if !q.t.child(ctx) {
		if ctx.Value(queryKey{}) != nil {
			return context.WithValue(ctx, queryKey{}, nil) // that of another statement is not ours to end
		}
		return ctx
	}
	under := ctx
	if transaction, ok := open(conn); ok {
		under = trace.ContextWithSpan(ctx, transaction)
	}
	_, s := q.t.tracer.Start(under, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("db.system.name", "postgresql"), attribute.String("db.query.text", clip(text, 2000))))
	return context.WithValue(ctx, queryKey{}, s)
}

func finish(ctx context.Context, tag pgconn.CommandTag, err error) {
	s, ok := ctx.Value(queryKey{}).(trace.Span)
	if !ok {
		return
	}
	if err == nil {
		s.SetAttributes(attribute.Int64("db.response.rows", tag.RowsAffected()))
	}
	failed(s, err)
	s.End()
}

// failed marks a span by the error's code alone: a server's message may quote values.
func failed(s trace.Span, err error) {
	if err == nil || errors.Is(err, pgx.ErrNoRows) {
		return
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		s.SetStatus(codes.Error, "no answer")
		return
	}
	s.SetAttributes(attribute.String("db.response.status_code", e.Code))
	s.SetStatus(codes.Error, "SQLSTATE "+e.Code)
}

// TraceQueryStart implements pgx.QueryTracer.
func (q *queries) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	word := verb(data.SQL)
	switch word {
	case "BEGIN":
		delete(conn.PgConn().CustomData(), inTransaction)
		if !q.t.child(ctx) {
			return ctx
		}
		_, s := q.t.tracer.Start(ctx, "transaction", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.String("db.system.name", "postgresql")))
		conn.PgConn().CustomData()[inTransaction] = s
		return ctx
	case "COMMIT", "ROLLBACK":
		if _, ok := open(conn); ok && !strings.Contains(strings.ToLower(data.SQL), "savepoint") {
			return context.WithValue(ctx, queryKey{}, closing(word))
		}
	}
	return q.start(ctx, conn, word, data.SQL)
}

// closing is how a transaction ends; it stands in the place of a statement's span.
type closing string

// TraceQueryEnd implements pgx.QueryTracer.
func (q *queries) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	how, ok := ctx.Value(queryKey{}).(closing)
	if !ok {
		finish(ctx, data.CommandTag, data.Err)
		return
	}
	if s, ok := open(conn); ok {
		delete(conn.PgConn().CustomData(), inTransaction)
		s.SetAttributes(attribute.String("haloingest.ended_by", strings.ToLower(string(how))))
		failed(s, data.Err)
		s.End()
	}
}

// TraceCopyFromStart implements pgx.CopyFromTracer.
func (q *queries) TraceCopyFromStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceCopyFromStartData) context.Context {
	return q.start(ctx, conn, "COPY", "COPY "+data.TableName.Sanitize())
}

// TraceCopyFromEnd implements pgx.CopyFromTracer.
func (q *queries) TraceCopyFromEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceCopyFromEndData) {
	finish(ctx, data.CommandTag, data.Err)
}

// TraceBatchStart implements pgx.BatchTracer.
func (q *queries) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	var texts []string
	for _, statement := range data.Batch.QueuedQueries {
		texts = append(texts, statement.SQL)
	}
	return q.start(ctx, conn, "BATCH", strings.Join(texts, ";\n"))
}

// TraceBatchQuery implements pgx.BatchTracer.
func (q *queries) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (q *queries) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchEndData) {
	finish(ctx, pgconn.CommandTag{}, data.Err)
}
