package backends

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
	echoDimensions    = 8    // of a vector, unless the request sets them
	echoMaxDimensions = 4096 // the most that a request may set
	echoMaxInputs     = 2048 // the API's own limit
)

type embeddingList struct {
	Object string      `json:"object"`
	Data   []embedding `json:"data"`
	Model  string      `json:"model"`
	Usage  struct {
		PromptTokens int64 `json:"prompt_tokens"`
		TotalTokens  int64 `json:"total_tokens"`
	} `json:"usage"`
}

type embedding struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // a list of numbers, or base64
}

func (c *echoCall) embeddings() ([]byte, []stage, error) {
	var texts inputs
	if c.req.Input == nil || json.Unmarshal(c.req.Input, &texts) != nil || len(texts) == 0 || len(texts) > echoMaxInputs {
		return nil, nil, fmt.Errorf("'input' must be a text or between 1 and %d of them", echoMaxInputs)
	}
	dimensions := echoDimensions
	if c.req.Dimensions != nil {
		dimensions = *c.req.Dimensions
	}
	if dimensions < 1 || dimensions > echoMaxDimensions {
		return nil, nil, fmt.Errorf("'dimensions' must be between 1 and %d", echoMaxDimensions)
	}
	list := embeddingList{Object: "list", Model: c.req.Model}
	for i, text := range texts {
		vector := embed(text, dimensions)
		e := embedding{Object: "embedding", Index: i, Embedding: vector}
		switch c.req.EncodingFormat {
		case "", "float":
		case "base64":
			e.Embedding = packVector(vector)
		default:
			return nil, nil, errors.New("'encoding_format' must be float or base64")
		}
		list.Data = append(list.Data, e)
	}
	list.Usage.PromptTokens = countTokens(texts...)
	list.Usage.TotalTokens = list.Usage.PromptTokens
	return marshal(list), nil, nil
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

// packVector encodes a vector in the SDKs' default format: base64 of
// little-endian floats.
func packVector(vector []float32) string {
	b := make([]byte, 0, 4*len(vector))
	for _, n := range vector {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(n))
	}
	return base64.StdEncoding.EncodeToString(b)
}
