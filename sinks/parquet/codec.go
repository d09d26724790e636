package parquet

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// window is how far back a page is looked for repetitions: the power of two that takes a whole one.
const window = 2 << 20

// codec compresses pages with zstd at its usual level. parquet-go's own would do but for its memory: it remembers the last 8 MiB, 16 MiB of
// buffers for each writer that is at work, where a page has hardly more than pageBuffer bytes and begins anew.
type codec struct {
	once    sync.Once
	err     error
	encoder *zstd.Encoder
}

func (c *codec) String() string { return "ZSTD" }

func (c *codec) CompressionCodec() format.CompressionCodec { return format.Zstd }

func (c *codec) Encode(dst, src []byte) ([]byte, error) {
	c.once.Do(func() {
		c.encoder, c.err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
			zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true), zstd.WithEncoderCRC(false))
	})
	if c.err != nil {
		return dst, fmt.Errorf("zstd: %w", c.err)
	}
	return c.encoder.EncodeAll(src, dst[:0]), nil
}

// Decode is of no use to a writer, but the interface has it.
func (c *codec) Decode(dst, src []byte) ([]byte, error) { return parquet.Zstd.Decode(dst, src) }
