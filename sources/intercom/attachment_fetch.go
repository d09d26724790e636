package intercom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"haloingest/pipeline/record"
)

// fileError is why a file is not saved. It holds no signed address.
type fileError struct {
	reason, text string
	retry        bool // some day
	again        bool // now
	stale        bool // the link may have run out
	wait         time.Duration
}

func (e *fileError) Error() string { return e.text }

// impatience is how many files in a row servers may fail to give before others are asked for once only: waiting for each of
// a hundred thousand files would take days.
const impatience = 16

// longestWait bounds what a server's Retry-After says: a run does not wait for hours for one file.
const longestWait = time.Minute

// fetch downloads a file into the store. The error is a *fileError, or one that ends the run.
func (a *Attachments) fetch(ctx context.Context, job *fileJob) (kept, error) {
	l := job.link
	if l.Size > a.options.MaxBytes {
		return kept{}, a.tooLarge(l.Size)
	}
	signed, renewed := l.signed, false
	odd := "" // hash of content that was not of the stated size
	for attempt := 1; ; attempt++ {
		k, err := a.attempt(ctx, l, signed, &odd)
		if err == nil {
			a.failing.Store(0)
			return k, nil
		}
		failure, ok := err.(*fileError)
		if ctx.Err() != nil {
			return kept{}, context.Cause(ctx)
		}
		if !ok {
			return kept{}, err
		}
		if failure.stale && !renewed {
			// Once: a link that was made just now has not run out.
			renewed = true
			if signed, err = a.renew(ctx, job); err != nil {
				return kept{}, err
			}
			attempt--
			continue
		}
		if !failure.again {
			if failure.stale {
				failure.text += ", also with a fresh link"
			}
			return kept{}, failure
		}
		if attempt >= a.options.Attempts || a.failing.Load() >= impatience {
			a.failing.Add(1)
			if attempt > 1 {
				failure.text += fmt.Sprintf(" (%d attempts)", attempt)
			}
			return kept{}, failure
		}
		wait := min(max(failure.wait, a.client.backoff(attempt, 0)), longestWait)
		if err := a.client.opts.Clock.Sleep(ctx, wait); err != nil {
			return kept{}, err
		}
	}
}

func (a *Attachments) tooLarge(size int64) *fileError {
	text := fmt.Sprintf("larger than the limit of %d bytes", a.options.MaxBytes)
	if size > 0 {
		text = fmt.Sprintf("%d bytes, more than the limit of %d", size, a.options.MaxBytes)
	}
	return &fileError{reason: record.AttachmentTooLarge, text: text, retry: true}
}

// renew reads the object again for a link that is good.
func (a *Attachments) renew(ctx context.Context, job *fileJob) (string, error) {
	o := job.object
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fresh == nil && o.why == nil {
		now, err := a.client.Fetch(ctx, o.kind, o.asked)
		class, known := ClassOf(err)
		switch {
		case err != nil && (!known || class == ClassStop):
			return "", err
		case err != nil:
			o.why = &fileError{reason: record.AttachmentUnavailable, text: "the link has run out, and the object could not be read again: " + err.Error(), retry: true}
		case now.Gone != "":
			o.why = &fileError{reason: record.AttachmentRefused, text: "the link has run out, and the object is gone from Intercom"}
		default:
			o.fresh = map[string]string{}
			links, _ := a.address.find(o.kind, o.id, now.Body)
			for _, l := range links {
				o.fresh[l.URL] = l.signed
			}
		}
	}
	if o.why != nil {
		return "", o.why
	}
	signed, ok := o.fresh[job.link.URL]
	if !ok {
		return "", &fileError{reason: record.AttachmentRefused, text: "the link has run out, and the object does not name the file any more"}
	}
	return signed, nil
}

// follow lets a redirect lead to where a file may be asked for, and nowhere else. What is not followed comes back as the 3xx it is.
func (a *Attachments) follow(r *http.Request, via []*http.Request) error {
	if len(via) > 3 || a.address.check(r.URL) != nil {
		return http.ErrUseLastResponse
	}
	r.Header.Del("Referer") // it would hold the signature
	return nil
}

// attempt downloads a file once.
func (a *Attachments) attempt(ctx context.Context, l *fileLink, signed string, odd *string) (kept, error) {
	u, err := url.Parse(signed)
	if err != nil || signed == "" {
		return kept{}, &fileError{reason: record.AttachmentNoAddress, text: "Intercom names no address that can be asked for"}
	}
	if u.Scheme == "" && u.Host != "" {
		u.Scheme = "https"
	}
	if err := a.address.check(u); err != nil {
		return kept{}, &fileError{reason: record.AttachmentForeign, text: err.Error()}
	}
	u.Fragment = ""
	// The API's token is nowhere near: this is another client, and no cookie is kept.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return kept{}, &fileError{reason: record.AttachmentNoAddress, text: "Intercom names no address that can be asked for"}
	}
	request.Header.Set("User-Agent", "haloingest")
	request.Header.Set("Accept", "*/*")
	if err := a.pace.wait(ctx, 0); err != nil {
		return kept{}, err
	}
	response, err := a.http.Do(request)
	if err != nil {
		return kept{}, networkFailure(err)
	}
	defer response.Body.Close()
	if failure := a.refusal(response); failure != nil {
		return kept{}, failure
	}
	return a.take(ctx, l, response, odd)
}

// refusal reads the head of an answer.
func (a *Attachments) refusal(r *http.Response) *fileError {
	status := fmt.Sprintf("the file's host answers with status %d", r.StatusCode)
	switch code := r.StatusCode; {
	case code == http.StatusOK && r.Header.Get("Content-Encoding") != "":
		return &fileError{reason: record.AttachmentUnavailable, text: "the file comes encoded, which was not asked for", retry: true, again: true}
	case code == http.StatusOK && r.ContentLength > a.options.MaxBytes:
		return a.tooLarge(r.ContentLength)
	case code == http.StatusOK:
		return nil
	case code >= 300 && code < 400:
		to, err := r.Location()
		if err != nil {
			return &fileError{reason: record.AttachmentRefused, text: status, retry: true}
		}
		if err := a.address.check(to); err != nil {
			return &fileError{reason: record.AttachmentForeign, text: "it leads on to elsewhere: " + err.Error(), retry: true}
		}
		return &fileError{reason: record.AttachmentRefused, text: status + ", again and again", retry: true}
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusNotFound, code == http.StatusGone,
		code == http.StatusBadRequest:
		return &fileError{reason: record.AttachmentRefused, text: status, retry: true, stale: true}
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return &fileError{reason: record.AttachmentUnavailable, text: status, retry: true, again: true, wait: retryAfter(r.Header, a.client.opts.Clock.Now())}
	}
	return &fileError{reason: record.AttachmentRefused, text: status, retry: true}
}

// take reads the body into the store.
func (a *Attachments) take(ctx context.Context, l *fileLink, r *http.Response, odd *string) (kept, error) {
	p, err := a.store.create()
	if err != nil {
		return kept{}, err
	}
	defer p.Close()
	buf := make([]byte, a.pace.chunk())
	for began, slept := time.Now(), time.Duration(0); ; {
		n, err := r.Body.Read(buf)
		if p.bytes+int64(n) > a.options.MaxBytes {
			return kept{}, a.tooLarge(0)
		}
		if _, werr := p.Write(buf[:n]); werr != nil {
			return kept{}, werr
		}
		if err != nil && err != io.EOF {
			return kept{}, networkFailure(err)
		}
		pause := time.Now()
		if err := a.pace.wait(ctx, n); err != nil {
			return kept{}, err
		}
		if err == io.EOF {
			break
		}
		slept += time.Since(pause)
		if time.Since(began)-slept > a.options.Timeout {
			return kept{}, &fileError{reason: record.AttachmentUnavailable, retry: true, again: true,
				text: fmt.Sprintf("it did not arrive within %v", a.options.Timeout)}
		}
	}
	k := kept{URL: l.URL, ContentType: record.CleanText(clipText(r.Header.Get("Content-Type"), 200))}
	k.Bytes, k.SHA256 = p.bytes, p.sum()
	if p.bytes == 0 {
		return kept{}, &fileError{reason: record.AttachmentUnavailable, retry: true, again: true, text: "nothing arrived"}
	}
	if l.Size > 0 && p.bytes != l.Size {
		// Twice the same is what Intercom has, whatever it states. It is kept, with a word about it.
		if *odd != k.SHA256 {
			*odd = k.SHA256
			return kept{}, &fileError{reason: record.AttachmentUnavailable, retry: true, again: true,
				text: fmt.Sprintf("%d bytes arrived instead of %d", p.bytes, l.Size)}
		}
		k.Error = fmt.Sprintf("Intercom states %d bytes and has %d", l.Size, p.bytes)
	}
	return k, p.keep(k)
}

// networkFailure is a connection that failed. The text is free of addresses.
func networkFailure(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // it holds the signed address
	}
	if errors.Is(err, errPrivate) {
		return &fileError{reason: record.AttachmentForeign, text: errPrivate.Error(), retry: true}
	}
	text := err.Error()
	switch {
	case isTimeout(err):
		text = "its host sends nothing"
	case errors.Is(err, io.ErrUnexpectedEOF):
		text = "the connection ended within the file"
	}
	return &fileError{reason: record.AttachmentUnavailable, text: text, retry: true, again: true}
}

// had fills in what the store has.
func (j *fileJob) had(k kept) {
	f := &j.file
	f.Path, f.Bytes, f.SHA256, f.ContentType = contentPath(k.SHA256), k.Bytes, k.SHA256, k.ContentType
	if k.Error != "" {
		f.Error, f.Reason = k.Error, record.AttachmentOddSize
	}
}

// pace holds several downloads together to a number of bytes per second. Safe for concurrent use.
type pace struct {
	clock Clock
	rate  int64 // 0: no bound

	mu   sync.Mutex
	next time.Time
}

// chunk is how much to read at a time: a fraction of a second's worth.
func (p *pace) chunk() int64 {
	const most = 64 << 10
	if p.rate == 0 {
		return most
	}
	return min(max(p.rate/8, 512), most)
}

// wait accounts for n bytes that were read, and waits for as long as all that were read before take at the rate.
func (p *pace) wait(ctx context.Context, n int) error {
	if p.rate == 0 {
		return context.Cause(ctx)
	}
	p.mu.Lock()
	now := p.clock.Now()
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	p.mu.Unlock()
	return p.clock.Sleep(ctx, wait)
}
