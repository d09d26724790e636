// Package bucket keeps snapshots in object stores: Amazon S3 and what speaks its protocol, Google Cloud Storage and Azure Blob
// Storage. It stands apart from package parquet because their drivers are large.
//
// An object is there whole or not at all and is durable once its upload is confirmed, so nothing is renamed. What a crash leaves of an upload
// in parts is no object; the store's own rule for unfinished uploads removes it. Credentials come from where each
// provider's tools have them (environment, profile, metadata service), never from the location.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	_ "gocloud.dev/blob/s3blob"    // s3://
	"gocloud.dev/gcerrors"

	"haloingest/sinks/parquet"
)

// schemes are those of the drivers above.
var schemes = [...]string{"s3", "gs", "azblob"}

// Create opens a location for writing: a folder, made if it is not there, as a path or as file:///path; or BUCKET/PREFIX in an object
// store, as s3://, gs:// or azblob://, with gocloud.dev's parameters behind a question mark (region, endpoint, use_path_style, …). The error
// wraps parquet.ErrStore if it is no location, if it is not there or if access is refused.
func Create(ctx context.Context, location string) (parquet.Store, error) {
	if dir, ok, err := folder(location); err != nil {
		return nil, err
	} else if ok {
		return store(parquet.NewDir(dir))
	}
	return store(open(ctx, location))
}

// Open is Create for reading only: nothing is made.
func Open(ctx context.Context, location string) (parquet.Store, error) {
	if dir, ok, err := folder(location); err != nil {
		return nil, err
	} else if ok {
		return store(parquet.OpenDir(dir))
	}
	return store(open(ctx, location))
}

// store keeps a nil pointer from becoming a Store.
func store[S parquet.Store](s S, err error) (parquet.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w %w", parquet.ErrStore, fmt.Errorf(format, args...))
}

// folder returns the path if the location is one of this machine. gocloud's own driver for file:// does not sync, so Dir takes these, too.
func folder(location string) (string, bool, error) {
	if location == "" {
		return "", false, bad("is empty: want a folder, or a bucket such as s3://bucket/prefix")
	}
	if !strings.Contains(location, "://") {
		return location, true, nil
	}
	if !strings.HasPrefix(location, "file://") {
		return "", false, nil
	}
	u, err := url.Parse(location)
	if err != nil || u.Host != "" && u.Host != "localhost" || u.Path == "" || u.RawQuery != "" || u.User != nil {
		return "", false, bad("%q: want file:///path", location)
	}
	return u.Path, true, nil
}

// secretive matches parameters that can only be a secret, or a way around the provider's own sources of credentials.
var secretive = regexp.MustCompile(`(?i)secret|password|passwd|token|signature|^sig$|access.?key|account.?key|credential`)

// parse takes a location of an object store apart: the address of the bucket as gocloud wants it, and the prefix within.
func parse(location string) (address, prefix, canonical string, err error) {
	u, err := url.Parse(location)
	if err != nil {
		return "", "", "", bad("is no address: want for example s3://bucket/prefix")
	}
	place := u.Scheme + "://" + u.Host + u.EscapedPath()
	switch {
	case !slices.Contains(schemes[:], u.Scheme):
		return "", "", "", bad("%s: want a folder, or %s", place, strings.Join(schemes[:], "://, ")+"://")
	case u.User != nil:
		return "", "", "", bad("%s holds a user name or password; credentials come from the provider's environment variables or profile", u.Scheme+"://")
	case u.Host == "":
		return "", "", "", bad("%s names no bucket", place)
	case u.Fragment != "":
		return "", "", "", bad("%s has a # in it; write %%23", place)
	}
	query := u.Query()
	for name := range query {
		if secretive.MatchString(name) {
			return "", "", "", bad("%s: the parameter %s may hold a secret; credentials come from the provider's environment variables or profile", place, name)
		}
	}
	prefix = strings.Trim(u.Path, "/")
	if prefix != "" {
		if !fs.ValidPath(prefix) {
			return "", "", "", bad("%s: the prefix has an empty part or dots alone between its slashes", place)
		}
		prefix += "/"
	}
	bucket := url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: query.Encode()}
	whole := bucket
	whole.Path = strings.TrimSuffix("/"+prefix, "/")
	return bucket.String(), prefix, whole.String(), nil
}

func open(ctx context.Context, location string) (*Bucket, error) {
	address, prefix, canonical, err := parse(location)
	if err != nil {
		return nil, err
	}
	b, err := blob.OpenBucket(ctx, address)
	if err != nil {
		return nil, bad("%s cannot be opened: %w", canonical, tidy(err))
	}
	// Where objects may be written but the bucket itself not be looked at, this says that it is there.
	ok, err := b.IsAccessible(ctx)
	if err == nil && !ok {
		err = errors.New("there is no such bucket")
	}
	if err != nil && gcerrors.Code(err) != gcerrors.PermissionDenied {
		return nil, errors.Join(bad("%s cannot be used: %w", canonical, tidy(err)), b.Close())
	}
	if prefix != "" {
		b = blob.PrefixedBucket(b, prefix)
	}
	return New(b, canonical), nil
}

// Bucket is a parquet.Store in an object store.
type Bucket struct {
	bucket   *blob.Bucket
	location string
}

// New makes a Store of an open bucket, which it closes. The location is for people.
func New(b *blob.Bucket, location string) *Bucket { return &Bucket{b, location} }

// Location implements parquet.Store.
func (b *Bucket) Location() string { return b.location }

// Parts of an upload, and how many are under way at once: together they bound its memory.
const (
	partBytes = 5 << 20 // S3 takes no smaller ones
	partsAt   = 2
)

// Put implements parquet.Store.
func (b *Bucket) Put(ctx context.Context, path string, write func(io.Writer) error) error {
	if !fs.ValidPath(path) || path == "." {
		return b.fail("write", path, errors.New("not a path within the snapshot"))
	}
	uploading, abort := context.WithCancel(ctx)
	defer abort()
	w, err := b.bucket.NewWriter(uploading, path, &blob.WriterOptions{
		BufferSize: partBytes, MaxConcurrency: partsAt, ContentType: contentType(path),
	})
	if err != nil {
		return b.fail("write", path, err)
	}
	out := &upload{w: w}
	if err := write(out); err != nil {
		abort() // a writer whose context has ended makes no object
		_ = w.Close()
		if out.err != nil {
			return b.fail("write", path, out.err)
		}
		return err
	}
	if err := ctx.Err(); err != nil {
		abort()
		_ = w.Close()
		return err
	}
	if err := w.Close(); err != nil {
		return b.fail("write", path, err)
	}
	return nil
}

// upload keeps the store's own error apart from those of who writes.
type upload struct {
	w   io.Writer
	err error
}

func (u *upload) Write(p []byte) (int, error) {
	n, err := u.w.Write(p)
	u.err = err
	return n, err
}

func contentType(path string) string {
	if strings.HasSuffix(path, ".json") {
		return "application/json"
	}
	return "application/vnd.apache.parquet"
}

// Open implements parquet.Store. Each ReadAt is a request of its own, so readers should read in large pieces.
func (b *Bucket) Open(ctx context.Context, path string) (parquet.File, error) {
	a, err := b.bucket.Attributes(ctx, path)
	if err != nil {
		return nil, b.fail("read", path, err)
	}
	return &object{ctx: ctx, bucket: b, path: path, size: a.Size}, nil
}

type object struct {
	ctx    context.Context
	bucket *Bucket
	path   string
	size   int64
}

func (o *object) Size() int64  { return o.size }
func (o *object) Close() error { return nil }

func (o *object) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, o.bucket.fail("read", o.path, fmt.Errorf("offset %d", off))
	}
	if off >= o.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), o.size-off)]
	r, err := o.bucket.bucket.NewRangeReader(o.ctx, o.path, off, int64(len(want)), nil)
	if err != nil {
		return 0, o.bucket.fail("read", o.path, err)
	}
	n, err := io.ReadFull(r, want)
	err = errors.Join(err, r.Close())
	switch {
	case err != nil:
		return n, o.bucket.fail("read", o.path, err)
	case len(want) < len(p):
		return n, io.EOF
	}
	return n, nil
}

// List implements parquet.Store.
func (b *Bucket) List(ctx context.Context, prefix string) ([]parquet.Entry, error) {
	var list []parquet.Entry
	for it := b.bucket.List(&blob.ListOptions{Prefix: prefix}); ; {
		o, err := it.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, b.fail("list", prefix, err)
		}
		if !o.IsDir {
			list = append(list, parquet.Entry{Path: o.Key, Size: o.Size})
		}
	}
	slices.SortFunc(list, func(a, b parquet.Entry) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

// Delete implements parquet.Store.
func (b *Bucket) Delete(ctx context.Context, path string) error {
	err := b.bucket.Delete(ctx, path)
	if err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return b.fail("delete", path, err)
	}
	return nil
}

// Close implements parquet.Store.
func (b *Bucket) Close() error {
	if err := b.bucket.Close(); err != nil {
		return b.fail("close", "", err)
	}
	return nil
}

func (b *Bucket) fail(op, path string, err error) error {
	return &parquet.StoreError{Op: op, Location: b.location, Path: path, Err: tidy(err)}
}

// tidy makes a provider's error fit for people: one line, and no query of an address, in which a signature can stand.
func tidy(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return &said{err}
}

type said struct{ err error }

var (
	queries = regexp.MustCompile(`\?[^\s"'<>]*`)
	breaks  = regexp.MustCompile(`[\s-]*[\r\n]+[\s-]*`)
)

// mostSaid is enough to know what a provider complains of.
const mostSaid = 500

func (e *said) Error() string {
	text := queries.ReplaceAllString(breaks.ReplaceAllString(strings.TrimSpace(e.err.Error()), "; "), "")
	if len(text) > mostSaid {
		text = strings.ToValidUTF8(text[:mostSaid], "") + "…"
	}
	return text
}

func (e *said) Unwrap() error { return e.err }
