package metric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"

	"github.com/riverqueue/river/rivertype"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/sources/intercom"
)

// TracingOptions says where traces go.
type TracingOptions struct {
	// Endpoint is the address of an OTLP/HTTP collector without the path, e.g. http://localhost:4318. "": what OTEL_EXPORTER_OTLP_ENDPOINT or
	// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT say. The other variables of the OpenTelemetry specification (headers, certificates, sampler, resource) hold
	// in both cases.
	Endpoint string
	Version  string       // of this program
	Log      *slog.Logger // nil: what cannot be sent is not told
}

// Tracer makes spans of requests, jobs, runs, streams, and of what they ask of Intercom and of the database. A nil *Tracer makes none, and costs
// nothing. Spans hold no path, no query, no header and no parameter of a statement: an endpoint and a route are shown by their pattern, and a
// statement as it is prepared.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// Tracing returns nil if there is no endpoint. Shut the Tracer down in the end, or its last spans are lost. A collector that cannot be reached
// is no error: what it misses is logged and dropped.
func Tracing(ctx context.Context, o TracingOptions) (*Tracer, error) {
	var options []otlptracehttp.Option
	switch {
	case strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true"):
		return nil, nil
	case o.Endpoint != "":
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
			return nil, errors.New("the OTLP endpoint: want http://host:4318 or https://host, without user or query")
		}
		options = append(options, otlptracehttp.WithEndpointURL(u.JoinPath("v1", "traces").String()))
	case os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "":
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open the OTLP exporter: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "haloingest"), attribute.String("service.version", orUnknown(o.Version))),
		resource.WithTelemetrySDK(), resource.WithProcessPID(), resource.WithHost(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("describe this process for traces: %w", err)
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(&patient{SpanExporter: exporter, log: log}), sdktrace.WithResource(about))
	return &Tracer{provider: provider, tracer: provider.Tracer("haloingest")}, nil
}

// Shutdown sends what has not been sent and ends the Tracer.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// patient logs that a collector does not take spans, once for each time that it begins. (The library would tell a global handler.)
type patient struct {
	sdktrace.SpanExporter
	log     *slog.Logger
	failing atomic.Bool
}

func (p *patient) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := p.SpanExporter.ExportSpans(ctx, spans)
	if before := p.failing.Swap(err != nil); err != nil && !before {
		p.log.Warn("traces cannot be sent and are dropped until they can", "error", err)
	}
	return nil
}

// span is a span that may not be there.
type span struct{ trace.Span }

func (s span) end(err error) {
	if s.Span == nil {
		return
	}
	if err != nil {
		s.SetStatus(codes.Error, clip(err.Error(), 500))
	}
	s.End()
}

// clip cuts text to at most n bytes, at the end of a character.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}

// maxChildren is how many spans of requests and statements a run's stream or a job may have: a backfill makes millions, and
// no collector wants them in one trace. What is above it is counted in the attribute haloingest.spans_left_out.
const maxChildren = 1000

type allowanceKey struct{}

// allowance is what of it is left.
type allowance struct{ used atomic.Int64 }

// child reports whether a span of a request or a statement is to be made.
func (t *Tracer) child(ctx context.Context) bool {
	if t == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return false // what nobody has begun to trace, such as the queue's own polling, is not traced
	}
	a, ok := ctx.Value(allowanceKey{}).(*allowance)
	return !ok || a.used.Add(1) <= maxChildren
}

// begin starts a span that others will be below, with an allowance of its own.
func (t *Tracer) begin(ctx context.Context, name string, kind trace.SpanKind, attrs ...attribute.KeyValue) (context.Context, span) {
	if t == nil {
		return ctx, span{}
	}
	a := &allowance{}
	ctx, s := t.tracer.Start(context.WithValue(ctx, allowanceKey{}, a), name, trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
	return ctx, span{&allowing{s, a}}
}

// allowing tells, when it ends, how many spans were left out.
type allowing struct {
	trace.Span
	allowance *allowance
}

func (a *allowing) End(options ...trace.SpanEndOption) {
	if n := a.allowance.used.Load() - maxChildren; n > 0 {
		a.SetAttributes(attribute.Int64("haloingest.spans_left_out", n))
	}
	a.Span.End(options...)
}

// job begins the span of a job. It begins a trace.
func (t *Tracer) job(ctx context.Context, job *rivertype.JobRow) (context.Context, span) {
	return t.begin(ctx, "job "+job.Kind, trace.SpanKindConsumer, attribute.Int64("haloingest.job", job.ID), attribute.String("haloingest.job_kind", job.Kind),
		attribute.String("haloingest.queue", job.Queue), attribute.Int("haloingest.attempt", job.Attempt))
}

// part begins the span of a run or of one of its streams.
func (t *Tracer) part(ctx context.Context, part ingest.Part) (context.Context, span) {
	if part.Stream != "" {
		return t.begin(ctx, "stream "+part.Stream, trace.SpanKindInternal, attribute.String("haloingest.stream", part.Stream))
	}
	return t.begin(ctx, "run "+part.Kind, trace.SpanKindInternal, attribute.String("haloingest.org", part.Org.String()),
		attribute.String("haloingest.run", part.Run.String()), attribute.String("haloingest.run_kind", part.Kind))
}

// handler makes a span of each request but those that come all the time and tell nothing. Every one begins a trace: what a stranger says
// about the trace that it belongs to is not believed.
func (t *Tracer) handler(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if quiet(r.URL.Path) && !strings.Contains(r.URL.Path, "/webhook/") {
			next.ServeHTTP(w, r)
			return
		}
		ctx, s := t.begin(r.Context(), "HTTP", trace.SpanKindServer)
		defer s.End()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// answered completes the span of a request.
func (t *Tracer) answered(ctx context.Context, method, route string, status int) {
	if t == nil {
		return
	}
	s := trace.SpanFromContext(ctx)
	s.SetName(method + " " + route)
	s.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route), attribute.Int("http.response.status_code", status))
	if status >= 500 {
		s.SetStatus(codes.Error, "")
	}
}

// transport makes a span of each request to Intercom that is made under another. Nothing is added to the request.
func (t *Tracer) transport(base http.RoundTripper) http.RoundTripper {
	if t == nil {
		return base
	}
	return &traced{t, base}
}

type traced struct {
	t    *Tracer
	base http.RoundTripper
}

func (c *traced) RoundTrip(r *http.Request) (*http.Response, error) {
	if !c.t.child(r.Context()) {
		return c.base.RoundTrip(r)
	}
	endpoint := intercom.Endpoint(r)
	if endpoint == "" {
		endpoint = r.Method + " elsewhere"
	}
	_, template, _ := strings.Cut(endpoint, " ")
	ctx, s := c.t.tracer.Start(r.Context(), endpoint, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("url.template", template), attribute.String("server.address", r.URL.Hostname())))
	defer s.End()
	response, err := c.base.RoundTrip(r.WithContext(ctx))
	switch {
	case err != nil:
		s.SetStatus(codes.Error, "no answer") // the error's text has the address in it
	default:
		s.SetAttributes(attribute.Int("http.response.status_code", response.StatusCode))
		if response.StatusCode >= 400 {
			s.SetStatus(codes.Error, "")
		}
	}
	return response, err
}

func (c *traced) CloseIdleConnections() {
	if b, ok := c.base.(interface{ CloseIdleConnections() }); ok {
		b.CloseIdleConnections()
	}
}
