package wire

// EstimateInput estimates the tokens of the input; it errs high.
func (r *Request) EstimateInput() int64 { return r.PromptBytes }
