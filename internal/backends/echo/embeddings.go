package echo

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

const (
	defaultDimensions = 8    // of a vector
	maxDimensions     = 4096 // the most that a request may set
	maxInputs         = 2048 // the API's own limit
)

// embeddings answers with vectors that only equal texts share.
func (c *call) embeddings() (reply, error) {
	var texts inputs
	if c.req.Input == nil || json.Unmarshal(c.req.Input, &texts) != nil || len(texts) == 0 || len(texts) > maxInputs {
		return reply{}, fmt.Errorf("'input' must be a text or between 1 and %d of them", maxInputs)
	}
	dimensions := defaultDimensions
	if c.req.Dimensions != nil {
		dimensions = *c.req.Dimensions
	}
	if dimensions < 1 || dimensions > maxDimensions {
		return reply{}, fmt.Errorf("'dimensions' must be between 1 and %d", maxDimensions)
	}
	var list []object
	for i, text := range texts {
		vector := any(embed(text, dimensions))
		switch c.req.EncodingFormat {
		case "", "float":
		case "base64":
			vector = pack(embed(text, dimensions))
		default:
			return reply{}, errors.New("'encoding_format' must be float or base64")
		}
		list = append(list, object{"object": "embedding", "index": i, "embedding": vector})
	}
	tokens := count(texts...)
	return reply{whole: object{
		"object": "list", "data": list, "model": c.req.Model, "usage": object{"prompt_tokens": tokens, "total_tokens": tokens},
	}}, nil
}

// embed returns a unit vector in a random direction that is seeded by the text:
// equal texts have equal vectors, and similarity means nothing.
func embed(text string, dimensions int) []float32 {
	random := rand.New(rand.NewChaCha8(sha256.Sum256([]byte(text))))
	numbers := make([]float64, dimensions)
	var sum float64
	for i := range numbers {
		numbers[i] = random.NormFloat64()
		sum += numbers[i] * numbers[i]
	}
	vector := make([]float32, dimensions)
	for i, n := range numbers {
		vector[i] = float32(n / math.Sqrt(sum))
	}
	return vector
}

// pack encodes a vector in the SDKs' default format: base64 of little-endian
// floats.
func pack(vector []float32) string {
	b := make([]byte, 0, 4*len(vector))
	for _, n := range vector {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(n))
	}
	return base64.StdEncoding.EncodeToString(b)
}
